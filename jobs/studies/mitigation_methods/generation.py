"""Generate and evaluate captions with one method and seed."""

import math
import time
from collections.abc import Sequence

import pyarrow as pa
import torch

from jobs.studies.mitigation.evaluator import StudyCaption, shared_evaluator
from jobs.studies.mitigation.generation import evaluated
from jobs.studies.mitigation_methods.conditions import NONE, MethodCondition
from scanner.mitigation import mitigate
from scanner.testbed import reproduction

BATCH = 48


def generate(
    testbed: str, condition: MethodCondition, seed: int, sample: Sequence[StudyCaption]
) -> pa.Table:
    """Return one row per caption, as :func:`jobs.studies.mitigation.generation.evaluated` does,
    with the CPU seconds per image."""
    tables = [
        _batch(testbed, condition, seed, sample[start : start + BATCH])
        for start in range(0, len(sample), BATCH)
    ]
    return pa.concat_tables(tables)


def _batch(
    testbed: str, condition: MethodCondition, seed: int, part: Sequence[StudyCaption]
) -> pa.Table:
    evaluator = shared_evaluator(testbed)
    captions = [caption.caption for caption in part]
    # No caption reaches this threshold: the first step is measured and nothing is changed.
    options = {"threshold": math.inf} if condition == NONE else condition.options
    began = time.process_time()
    with mitigate(evaluator.pipe, **options) as record, torch.inference_mode():
        images = reproduction.generate_images(evaluator.pipe, captions, seed)
    seconds = (time.process_time() - began) / len(part)
    norm_B = record.noise_norm_N
    if norm_B is None:
        norm_B = torch.full((len(part),), math.nan)
    about = {"condition": condition.name, "seconds": seconds}
    return evaluated(about, seed, part, images, norm_B, evaluator)
