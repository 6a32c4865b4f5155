"""One piece of the study: a fine-tuning on a set with repeats, with or without a guard.

The set is made of the testbed's held-out pictures: some captions repeated many times, one picture
each, among others that come once. What is left of them is never trained on and measures quality.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from jobs.study_mitigation.setting import LOW_TIMES, StudyModel, setting
from scanner.mitigation.finetune import finetune, make_guard
from scanner.mitigation.guard import Guard, Signal
from scanner.mitigation.threshold import RunningQuantile
from scanner.mitigation.training_images import TrainingImages
from scanner.mitigation.training_options import TrainingOptions
from scanner.testbed import files, reproduction

DRAW = 5
REPEATED = 24
REPEATS = 30
ONCE = 360
SHOWN_ONCE = 24
BATCH = 32
RATE = 5e-4
MEASURED_EVERY = 50
BINS = 5


@dataclass(frozen=True)
class FinetuneRun:
    """A fine-tuning. ``signal`` off: without a guard; ``calibrated``: its quantile is of unseen
    pairs by the model at the start, not of the last samples."""

    signal: str
    quantile: float = 0.6
    calibrated: bool = False
    layers: tuple[int, ...] = (3,)
    steps: int = 250

    @property
    def name(self) -> str:
        if self.signal == "off":
            return "no guard"
        kind = "calibrated" if self.calibrated else "hard"
        return f"{self.signal} {kind}"


RUNS = (
    FinetuneRun("off"),
    FinetuneRun("noise_norm"),
    FinetuneRun("noise_norm", quantile=0.95, calibrated=True),
    FinetuneRun("bos_mass", layers=tuple(range(16))),
)


def tune(run: FinetuneRun) -> pa.Table:
    """A row a measured step and caption, generated at seed 0: run, step, role, how near its image
    is to its own, features; and the step's validation loss and share left out."""
    here = StudyModel(setting().bank_NF)  # of its own: the U-Net learns
    repeated, once, unseen = _split()
    how = TrainingOptions(run.steps, BATCH, RATE)
    guard = None if run.signal == "off" else _guard(here, run, how, unseen)
    roles = [("repeated", caption) for caption, _ in repeated]
    roles += [("once", caption) for caption, _ in once[:SHOWN_ONCE]]
    roles += [("unseen", caption) for caption, _ in unseen[:SHOWN_ONCE]]
    measured = [_measure(here, run, 0, roles, unseen, None)]

    def after(step: int, _: float) -> None:
        if step % MEASURED_EVERY == 0:
            here.model.unet.eval()
            measured.append(_measure(here, run, step, roles, unseen, guard))
            here.model.unet.train()

    rows = [(f"repeated {n}.{k}", *pair) for n, pair in enumerate(repeated) for k in range(REPEATS)]
    rows += [(f"once {n}", *pair) for n, pair in enumerate(once)]
    with guard or nullcontext():
        finetune(here.model, here.pipe.vae, TrainingImages.from_rows(rows), how, guard, after)
    return pa.concat_tables(measured)


def _guard(here: StudyModel, run: FinetuneRun, how: TrainingOptions, unseen: list) -> Guard:
    signal: Signal = run.signal  # type: ignore[assignment]
    usual, clean = RunningQuantile(run.quantile, bins=BINS), None
    if run.calibrated:
        clean = TrainingImages.from_rows((f"unseen {n}", *pair) for n, pair in enumerate(unseen))
    return make_guard(here.model, here.pipe.vae, signal, run.layers, usual, how, clean=clean)


def _split() -> tuple[list, list, list]:
    """(caption, picture) pairs: repeated, once, unseen. The guards' settings were chosen on the
    first REPEATED of them, which are left out here."""
    table = pq.read_table(files.HELDOUT, columns=["caption", "image"]).to_pylist()
    order = np.random.default_rng(DRAW).permutation(len(table))
    pairs = [(table[n]["caption"], table[n]["image"]) for n in order][REPEATED:]
    repeated, rest = pairs[:REPEATED], pairs[REPEATED:]
    return repeated, rest[:ONCE], rest[ONCE:]


@torch.no_grad()
def _measure(
    here: StudyModel, run: FinetuneRun, step: int, roles: Any, unseen: Any, guard: Guard | None
) -> pa.Table:
    captions = [caption for _, caption in roles]
    images = reproduction.generate(here.pipe, captions, seed=0)
    rmse, copied = here.judge(images, captions)
    count = len(roles)
    share = None if guard is None else guard.exclusions.share
    return pa.table(
        {
            "run": [run.name] * count,
            "step": [step] * count,
            "role": [role for role, _ in roles],
            "caption": captions,
            "rmse": rmse,
            "copied": copied,
            "features": here.features(images).tolist(),
            "unseen_loss": [_unseen_loss(here, [caption for caption, _ in unseen])] * count,
            "left_out_share": pa.array([share] * count, pa.float64()),
            "extra_forwards": [guard.extra_forwards if guard else 0] * count,
        }
    )


def _unseen_loss(here: StudyModel, captions: list[str]) -> float:
    """Mean squared error of the predicted noise on pairs that were never trained on."""
    own = [min(here.own[caption]) for caption in captions]
    latents = here.pipe.vae.encode(here.bank_NCHW[own]).latent_dist.mean
    x0_BCHW = latents * here.pipe.vae.config.scaling_factor
    text = here.model.encode(here.model.tokenize(captions))
    random = torch.Generator().manual_seed(0)
    total = 0.0
    for time in LOW_TIMES:
        alpha = here.model.alpha(time)
        noise = torch.randn(x0_BCHW.shape, generator=random)
        noisy = alpha**0.5 * x0_BCHW + (1 - alpha) ** 0.5 * noise
        total += float((here.model.predict_noise(noisy, time, text) - noise).square().mean())
    return total / len(LOW_TIMES)
