"""The studies of sample scores and of images that are the same, on made-up results."""

import io

import numpy as np
import torch
from PIL import Image

from jobs.studies.same_images import CHANGES, measure
from jobs.studies.sample_scores import LEVELS, QUESTIONS, Pairs, evaluate, plant
from scanner.evidence.score_samples.denoising import SampleErrors

GROUPS = ["memorized", "repeated", "memorized", "repeated", "once"]
OWN = [{0}, {1, 2, 3, 4}, {5}, {6, 7, 8}, {9}]


def test_other_images_are_planted_under_each_caption() -> None:
    pairs = plant(OWN, GROUPS, 2, 2)
    assert sorted(pairs.kind.tolist()) == [0] * 2 + [1] * 4 + [2] * 2 + [3] * 2
    for caption, image, kind in zip(pairs.caption, pairs.image, pairs.kind, strict=True):
        assert (image in OWN[caption]) == (kind in (0, 2))
        assert GROUPS[caption] == ("memorized" if kind < 2 else "repeated")


def test_levels_are_evaluated_apart() -> None:
    """At the first level the reproduced images are first, at the second the last."""
    pairs = Pairs(
        np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.arange(8), np.array([0, 1, 0, 1, 2, 3, 2, 3])
    )
    high = torch.tensor([3.0, 0, 3, 0, 2, 1, 2, 1])
    scores = torch.stack([high, -high, *[high] * (len(LEVELS) - 2)], 1)[:, :, None]
    found = evaluate(SampleErrors(scores, scores), pairs)
    which = next(iter(QUESTIONS))
    assert [found[str(level)][which]["auc"] for level in LEVELS[:2]] == [1, 0]
    assert found[str(LEVELS[0])][which]["best_is_first"] == 2
    assert found[str(LEVELS[1])][which]["best_is_first"] == 0


def test_wrong_pairs_count_against_precision_only() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(file, "PNG")
    other = io.BytesIO()
    Image.new("RGB", (8, 8), (0, 0, 255)).save(other, "PNG")
    first, *_ = CHANGES
    copies = {f"{change}|a": "a" for change in CHANGES}
    files = {"a": file.getvalue(), "b": other.getvalue()} | dict.fromkeys(copies, file.getvalue())
    found = measure(
        {"a": "x", "b": "x", **dict.fromkeys(copies, "y"), f"{first}|a": "x"}, copies, files
    )
    assert found["wrong"] == 2
    assert found["recall"] == 1 / len(CHANGES)
    assert found["recall_by_change"][first] == 1
