"""The options of a mitigated or attacked verification."""

import inspect

import pytest

from scanner.errors import UsageError
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.mitigated import Mitigation
from scanner.mitigation import mitigate
from scanner.mitigation.adversary.options import AdversaryOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversary": AdversaryOptions(radius=0.05)}, "--radius needs --adversarial"),
        ({"mitigation": Mitigation(bos_scale=2)}, "--bos-scale needs --mitigate"),
        ({"mitigation": Mitigation(mask_padding=False)}, "--no-mask-padding needs --mitigate"),
        ({"mitigate": True, "mitigation": Mitigation(bos_scale=0)}, "must be a positive number"),
        ({"mitigate": True, "mitigation": Mitigation(1, False)}, "changes nothing"),
        ({"mitigate": True, "mitigation": Mitigation(method="gard")}, "choose ren, guard"),
        ({"mitigate": True, "mitigation": Mitigation(2, method="guard")}, "are of --method ren"),
        ({"mitigate": True, "mitigation": Mitigation(setting=("a=1",))}, "name one with --method"),
        (
            {"mitigate": True, "mitigation": Mitigation(method="sail", setting=("weight",))},
            "must be NAME=VALUE",
        ),
    ],
)
def test_invalid_mitigation_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VerifyConfig(run="RUN", **options).check()


def test_mitigation_options_have_the_defaults_of_mitigate() -> None:
    own = inspect.signature(mitigate).parameters
    options = Mitigation().options
    assert options == {name: own[name].default for name in options}
    assert Mitigation().method == own["method"].default
    other = Mitigation(method="guard", setting=("repulsion=1",))
    assert other.options == {"method": "guard", "repulsion": 1.0}
