"""Verdicts from the measures of a few captions."""

import numpy as np
import pyarrow as pa
import pytest

from scanner.errors import UserError
from scanner.evidence.verify.threshold_fitting import TAILS, cross_validate, first_half, fit
from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verdicts import judge
from scanner.run.verdicts import MEASURES, VERDICTS

LIMITS = Thresholds(agreement=0.8, likeness=0.7, part=0.5, same_picture=0.1)


def row(name: str, agreement: float, picture: float = 0.0, **more: float) -> dict:
    return {
        "caption_id": name,
        "caption": name,
        "seeds": 4,
        "agreement": agreement,
        "agreeing_share": 0.0,
        "n_references": 0,
        "picture": [picture] * 12,
        **more,
    }


def verdicts(*rows: dict, limits: Thresholds = LIMITS) -> list[str]:
    return judge(pa.Table.from_pylist(list(rows), MEASURES), limits)["verdict"].to_pylist()


def test_agreeing_seeds_without_a_training_image_are_no_copy() -> None:
    table = judge(pa.Table.from_pylist([row("a", 0.9), row("b", 0.2, 0.5)], MEASURES), LIMITS)
    assert table["verdict"].to_pylist() == ["seed-consistent", "none"]
    assert "no training image compared" in table["reason"][0].as_py()


def test_agreeing_seeds_unlike_the_training_image_are_no_copy() -> None:
    assert verdicts(row("a", 0.9, likeness=0.3, likeness_part=0.3)) == ["seed-consistent"]


def test_likeness_shows_a_copy_even_if_seeds_disagree() -> None:
    assert verdicts(row("a", 0.5, likeness=0.75), row("b", 0.5, likeness=0.6)) == [
        "verbatim", "none",
    ]  # fmt: skip


def test_one_image_for_several_captions_is_a_template() -> None:
    rows = [
        row("a", 0.9, 0.50, likeness=0.8),
        row("b", 0.9, 0.52, likeness=0.8),
        row("c", 0.9, 0.9, likeness=0.8),
        row("d", 0.1, 0.5, likeness=0.1),
    ]
    table = judge(pa.Table.from_pylist(rows, MEASURES), LIMITS)
    assert table["verdict"].to_pylist() == ["template", "template", "verbatim", "none"]
    assert table["same_picture"].to_pylist() == [2, 2, 1, 1]
    assert "2 captions generate this image" in table["reason"][0].as_py()


def test_a_part_that_matches_the_training_image_is_a_template() -> None:
    assert verdicts(
        row("a", 0.5, agreeing_share=0.6),
        row("b", 0.5, agreeing_share=0.6, likeness=0.4, likeness_part=0.9),
        row("c", 0.5, agreeing_share=0.6, likeness=0.4, likeness_part=0.3),
        row("d", 0.5, agreeing_share=0.4),
    ) == ["seed-consistent", "template", "none", "none"]


def test_an_embedding_is_used_only_with_a_threshold() -> None:
    one = row("a", 0.1, likeness=0.1, likeness_embedding=0.9)
    assert verdicts(one) == ["none"]
    assert verdicts(one, limits=Thresholds(cosine=0.8)) == ["verbatim"]


def test_no_measures_give_no_verdicts() -> None:
    assert judge(MEASURES.empty_table(), LIMITS).schema == VERDICTS


def test_fitted_thresholds_are_between_the_classes() -> None:
    rows = [row(f"m{n}", 0.9, n // 2, likeness=0.8) for n in range(8)]
    rows += [row(f"o{n}", 0.3, agreeing_share=n / 100) for n in range(100)]
    families = [f"family {n // 2}" for n in range(8)] + [f"o{n}" for n in range(100)]
    memorized = np.array([True] * 8 + [False] * 100)
    found = fit(pa.Table.from_pylist(rows, MEASURES), memorized, families, 0.05)
    assert found.agreement == pytest.approx(0.6)
    assert found.likeness == Thresholds().likeness  # no other caption has a training image
    assert found.part == pytest.approx(0.98, abs=0.01)
    assert 0 < found.same_picture < 1
    with pytest.raises(UserError, match="both kinds"):
        fit(pa.Table.from_pylist(rows, MEASURES), np.ones(108, bool), families, 0.05)


def test_cross_validation_selects_the_share_of_wrong_labels() -> None:
    rows = [row(f"m{n}", 0.9, n / 60) for n in range(60)]
    # 4 of 100 others are close to the copies: a tail that drops them misjudges them.
    rows += [
        row(f"o{n}", 0.85 if n % 30 == 0 else 0.4, agreeing_share=n / 1000) for n in range(100)
    ]
    memorized = np.array([True] * 60 + [False] * 100)
    names = [str(one["caption_id"]) for one in rows]
    found = cross_validate(pa.Table.from_pylist(rows, MEASURES), memorized, names)
    assert tuple(found) == TAILS
    assert found[0.0] >= 0.98
    assert found[0.0] - found[0.1] == pytest.approx(4 / 160)


def test_families_stay_in_one_of_two_equal_halves() -> None:
    names = [f"family {n // 5}" for n in range(2000)]
    half = first_half(names)
    assert all(len(set(half[n : n + 5])) == 1 for n in range(0, 2000, 5))
    assert 0.4 < half.mean() < 0.6
