"""One piece of the study: captions under one condition and seed, generated and judged."""

import math
from collections.abc import Sequence

import pyarrow as pa
import torch

from jobs.study_mitigation.conditions import NONE, Condition, edit_of, places
from jobs.study_mitigation.setting import StudyCaption, setting
from scanner.mitigation.edit import AttentionEdit
from scanner.mitigation.intervention import intervene
from scanner.mitigation.noise_norm_threshold import NoiseNormThreshold
from scanner.scoring import Scorer
from scanner.testbed import reproduction

BATCH = 48


def generate(condition: Condition, seed: int, chosen: Sequence[StudyCaption]) -> pa.Table:
    """A row a caption: how near its image is to what it was trained with, and how good it is.

    ``image``: the picture as bytes, RGB by rows; ``noise_norm``: of the generation's own first
    step, where nothing is changed (NaN elsewhere): what a selective setting goes by.
    """
    tables = [
        _batch(condition, seed, chosen[start : start + BATCH])
        for start in range(0, len(chosen), BATCH)
    ]
    return pa.concat_tables(tables)


def _batch(condition: Condition, seed: int, part: Sequence[StudyCaption]) -> pa.Table:
    here = setting()
    captions = [one.caption for one in part]
    if condition == NONE:
        # A threshold that no caption reaches: the first step is looked at, and nothing changed.
        nothing, never = (lambda rows: AttentionEdit(rows.count)), NoiseNormThreshold(math.inf)
        context = intervene(here.pipe, nothing, threshold=never)
    else:
        scorer = Scorer(here.model, "triage", batch_size=len(part), seeds=1)
        mass = scorer.score(captions)["token_mass"].to_pylist()
        context = intervene(here.pipe, edit_of(condition, places(mass, seed)))
    with context as record, torch.inference_mode():
        images = reproduction.generate(here.pipe, captions, seed)
    norm_B = record.noise_norm_N
    if norm_B is None:
        norm_B = torch.full((len(part),), math.nan)
    rmse, copied = here.judge(images, captions)
    pixels = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return pa.table(
        {
            "condition": [condition.name] * len(part),
            "target": [condition.target] * len(part),
            "dose": [condition.dose] * len(part),
            "mask": [condition.mask] * len(part),
            "seed": [seed] * len(part),
            "caption": captions,
            "group": [one.group for one in part],
            "memorized": [one.memorized for one in part],
            "half": [one.half for one in part],
            "family": [one.family for one in part],
            "noise_norm": norm_B.tolist(),
            "rmse": rmse,
            "copied": copied,
            "alignment": here.alignment(images, captions).tolist(),
            "features": here.features(images).tolist(),
            "image": [picture.tobytes() for picture in pixels],
        }
    )
