"""The searches near a caption: within the radius, repeatable, of each caption by itself."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scanner.errors import UsageError
from scanner.mitigation.adversary.embedding_search import relative_distance
from scanner.mitigation.adversary.options import AdversaryOptions
from scanner.mitigation.adversary.search import Adversary, Attack
from tests.mitigation.adversary.conftest import CAPTIONS, MakeAdversary

Images = Callable[[Adversary], Tensor]


def by_kind(found: list[tuple[int, Attack]], number: int) -> dict[str, Attack]:
    return {attack.kind: attack for owner, attack in found if owner == number}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sd3-t5"])
def test_embeddings_stay_within_the_radius(
    kind: str, make_adversary: MakeAdversary, images_GCHW: Images
) -> None:
    adversary = make_adversary(kind, radius=0.3, attack_steps=3, swaps=0, attack_noises=1)
    found = adversary.search(CAPTIONS, images_GCHW(adversary))
    assert [(number, attack.kind) for number, attack in found] == [
        (0, "embedding"),
        (1, "embedding"),
    ]
    for number, attack in found:
        hidden = adversary._hidden(CAPTIONS[number])[0]
        assert attack.error < 1
        assert attack.offset_LC[0].norm() == 0  # the BOS token
        moved = attack.offset_LC.norm(dim=-1)
        assert (moved <= 0.3 * hidden.norm(dim=-1) * (1 + 1e-5)).all()
        assert 0 < attack.distance <= 0.3
        assert attack.distance == relative_distance(hidden, attack.offset_LC)


@pytest.mark.slow
def test_searches_are_repeatable_and_of_each_caption_alone(
    make_adversary: MakeAdversary, images_GCHW: Images
) -> None:
    options = {"radius": 0.2, "attack_steps": 2, "swaps": 1, "neighbors": 2, "attack_noises": 2}
    adversary = make_adversary("sd1", **options)
    images = images_GCHW(adversary)
    found = adversary.search(CAPTIONS, images)
    other = make_adversary("sd1", **options)
    with torch.inference_mode():  # as a caller may be in
        again = other.search(CAPTIONS, images)
    assert len(found) == len(again)
    for (_, left), (_, right) in zip(found, again, strict=True):
        assert (left.kind, left.caption, left.error) == (right.kind, right.caption, right.error)
        assert torch.equal(left.offset_LC, right.offset_LC)
    small = make_adversary("sd1", batch_size=3, **options).search(CAPTIONS[1:], images[1:])
    alone, together = by_kind(small, 0), by_kind(found, 1)
    assert alone.keys() == together.keys()
    for name, attack in alone.items():
        assert attack.caption == together[name].caption
        assert attack.error == pytest.approx(together[name].error, rel=1e-3)
        torch.testing.assert_close(attack.offset_LC, together[name].offset_LC, rtol=0, atol=1e-2)


def test_a_radius_of_zero_and_no_swaps_search_nothing() -> None:
    for options, message in (
        (AdversaryOptions(radius=0, swaps=0), "searches nothing"),
        (AdversaryOptions(radius=1), "below 1"),
        (AdversaryOptions(radius=-0.1), "at least 0"),
        (AdversaryOptions(attack_steps=0), "at least 1"),
        (AdversaryOptions(neighbors=0), "at least 1"),
    ):
        with pytest.raises(UsageError, match=message):
            options.check(on=True)
    with pytest.raises(UsageError, match="--swaps needs --adversarial"):
        AdversaryOptions(swaps=1).check(on=False)
    AdversaryOptions().check(on=False)
