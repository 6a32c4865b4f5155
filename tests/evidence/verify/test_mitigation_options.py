"""The options of a mitigated or attacked verification."""

import inspect

import pytest

from scanner.errors import UsageError
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.mitigated import Mitigation
from scanner.mitigation import mitigate
from scanner.mitigation.adversary.options import AdversaryOptions
from scanner.mitigation.inference import BOS_SCALE, REN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversary": AdversaryOptions(radius=0.05)}, "--radius needs --adversarial"),
        ({"mitigation": Mitigation(bos_scale=2)}, "--bos-scale needs --mitigate"),
        ({"mitigation": Mitigation(mask_padding=False)}, "--no-mask-padding needs --mitigate"),
        ({"mitigate": True, "mitigation": Mitigation(bos_scale=0)}, "must be a positive number"),
        ({"mitigate": True, "mitigation": Mitigation("ren", 1, False)}, "changes nothing"),
        ({"mitigate": True, "mitigation": Mitigation(method="gard")}, "choose ren, guard"),
        (
            {"mitigate": True, "mitigation": Mitigation(bos_scale=2)},
            "not of embedding; add --method ren",
        ),
        (
            {"mitigate": True, "mitigation": Mitigation("ren", setting=("a=1",))},
            "for the other methods",
        ),
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
    assert Mitigation().options == {"method": own["method"].default}
    ren = Mitigation("ren").options
    assert ren == {"method": REN, "bos_scale": BOS_SCALE, "mask_padding": True}
    other = Mitigation(method="guard", setting=("repulsion=1",))
    assert other.options == {"method": "guard", "repulsion": 1.0}
