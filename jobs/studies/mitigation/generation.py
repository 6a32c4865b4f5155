"""Generate and evaluate captions under one condition and seed."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from jobs.studies.mitigation.conditions import NONE, Condition, choose_positions, make_edit
from jobs.studies.mitigation.evaluator import Evaluator, StudyCaption, shared_evaluator
from scanner.mitigation.edit import AttentionEdit
from scanner.mitigation.intervention import intervene
from scanner.mitigation.noise_norm_threshold import NoiseNormThreshold
from scanner.scoring import Scorer
from scanner.testbed import reproduction

BATCH = 48


def generate(condition: Condition, seed: int, sample: Sequence[StudyCaption]) -> pa.Table:
    """Return one row per caption: its distance to its training images, and its quality.

    ``image``: RGB bytes in row-major order; ``noise_norm``: of the generation's first step, which
    selective settings compare with their threshold; NaN except without intervention.
    """
    tables = [
        _batch(condition, seed, sample[start : start + BATCH])
        for start in range(0, len(sample), BATCH)
    ]
    return pa.concat_tables(tables)


def _batch(condition: Condition, seed: int, part: Sequence[StudyCaption]) -> pa.Table:
    evaluator = shared_evaluator()
    captions = [caption.caption for caption in part]
    if condition == NONE:
        # No caption reaches this threshold: the first step is measured and nothing is changed.
        no_edit, never = (lambda rows: AttentionEdit(rows.count)), NoiseNormThreshold(math.inf)
        context = intervene(evaluator.pipe, no_edit, threshold=never)
    else:
        scorer = Scorer(evaluator.model, "triage", batch_size=len(part), seeds=1)
        mass = scorer.score(captions)["token_mass"].to_pylist()
        context = intervene(evaluator.pipe, make_edit(condition, choose_positions(mass, seed)))
    with context as record, torch.inference_mode():
        images = reproduction.generate_images(evaluator.pipe, captions, seed)
    norm_B = record.noise_norm_N
    if norm_B is None:
        norm_B = torch.full((len(part),), math.nan)
    about = {
        "condition": condition.name,
        "target": condition.target,
        "dose": condition.dose,
        "mask": condition.mask,
    }
    return evaluated(about, seed, part, images, norm_B, evaluator)


def evaluated(
    about: dict[str, Any],
    seed: int,
    part: Sequence[StudyCaption],
    images: Tensor,
    norm_B: Tensor,
    evaluator: Evaluator,
) -> pa.Table:
    """Return one row per generated image; ``about``: columns that are equal in all rows."""
    captions = [caption.caption for caption in part]
    rmse, copied = evaluator.judge(images, captions)
    pixels = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return pa.table(
        {
            **{name: [value] * len(part) for name, value in about.items()},
            "seed": [seed] * len(part),
            "caption": captions,
            "group": [caption.group for caption in part],
            "memorized": [caption.memorized for caption in part],
            "half": [caption.half for caption in part],
            "family": [caption.family for caption in part],
            "noise_norm": norm_B.tolist(),
            "rmse": rmse,
            "copied": copied,
            "alignment": evaluator.alignment(images, captions).tolist(),
            "features": evaluator.features(images).tolist(),
            "image": [image.tobytes() for image in pixels],
        }
    )
