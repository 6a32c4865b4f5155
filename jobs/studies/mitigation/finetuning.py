"""Fine-tune on a set with repeats, with or without a guard, and measure copying and quality.

The set consists of the testbed's held-out images: some captions, one image each, are repeated many
times, others occur once. The remaining pairs are never trained on and measure quality.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from jobs.studies.mitigation.evaluator import LOW_TIMES, Evaluator, shared_evaluator
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
MEASURED_ONCE = 24
BATCH = 32
RATE = 5e-4
MEASURED_EVERY = 50
BINS = 5


@dataclass(frozen=True)
class FinetuneRun:
    """A fine-tuning run.

    ``signal``: the guard's, or off for no guard. ``calibrated``: compute the quantile from unseen
    pairs with the initial model instead of from recent samples.
    """

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


def finetune_and_measure(run: FinetuneRun) -> pa.Table:
    """Return one row per measured step and caption, generated with seed 0.

    Columns: run, step, role, distance to its own image, features, and the step's validation loss
    and share of excluded samples.
    """
    evaluator = Evaluator(shared_evaluator().bank_NF)  # not shared: training changes the U-Net
    repeated, once, unseen = _split()
    tuning = TrainingOptions(run.steps, BATCH, RATE)
    guard = None if run.signal == "off" else _guard(evaluator, run, tuning, unseen)
    roles = [("repeated", caption) for caption, _ in repeated]
    roles += [("once", caption) for caption, _ in once[:MEASURED_ONCE]]
    roles += [("unseen", caption) for caption, _ in unseen[:MEASURED_ONCE]]
    measured = [_measure(evaluator, run, 0, roles, unseen, None)]

    def after(step: int, _: float) -> None:
        if step % MEASURED_EVERY == 0:
            evaluator.model.denoiser.eval()
            measured.append(_measure(evaluator, run, step, roles, unseen, guard))
            evaluator.model.denoiser.train()

    rows = [(f"repeated {n}.{k}", *pair) for n, pair in enumerate(repeated) for k in range(REPEATS)]
    rows += [(f"once {n}", *pair) for n, pair in enumerate(once)]
    with guard or nullcontext():
        finetune(
            evaluator.model,
            evaluator.pipe.vae,
            TrainingImages.from_rows(rows),
            tuning,
            guard,
            after,
        )
    return pa.concat_tables(measured)


def _guard(evaluator: Evaluator, run: FinetuneRun, tuning: TrainingOptions, unseen: list) -> Guard:
    signal: Signal = run.signal  # type: ignore[assignment]
    running, clean = RunningQuantile(run.quantile, bins=BINS), None
    if run.calibrated:
        clean = TrainingImages.from_rows((f"unseen {n}", *pair) for n, pair in enumerate(unseen))
    return make_guard(
        evaluator.model, evaluator.pipe.vae, signal, run.layers, running, tuning, clean=clean
    )


def _split() -> tuple[list, list, list]:
    """Return (caption, image) pairs: repeated, once, unseen.

    Skips the first REPEATED pairs, on which the guards' settings were chosen.
    """
    table = pq.read_table(files.HELDOUT, columns=["caption", "image"]).to_pylist()
    order = np.random.default_rng(DRAW).permutation(len(table))
    pairs = [(table[n]["caption"], table[n]["image"]) for n in order][REPEATED:]
    repeated, rest = pairs[:REPEATED], pairs[REPEATED:]
    return repeated, rest[:ONCE], rest[ONCE:]


@torch.no_grad()
def _measure(
    evaluator: Evaluator, run: FinetuneRun, step: int, roles: Any, unseen: Any, guard: Guard | None
) -> pa.Table:
    captions = [caption for _, caption in roles]
    images = reproduction.generate_images(evaluator.pipe, captions, seed=0)
    rmse, copied = evaluator.judge(images, captions)
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
            "features": evaluator.features(images).tolist(),
            "unseen_loss": [_unseen_loss(evaluator, [caption for caption, _ in unseen])] * count,
            "left_out_share": pa.array([share] * count, pa.float64()),
            "extra_forwards": [guard.extra_forwards if guard else 0] * count,
        }
    )


def _unseen_loss(evaluator: Evaluator, captions: list[str]) -> float:
    """Return the mean squared error of the predicted noise on pairs never trained on."""
    own = [min(evaluator.own[caption]) for caption in captions]
    latents = evaluator.pipe.vae.encode(evaluator.bank_NCHW[own]).latent_dist.mean
    x0_BCHW = latents * evaluator.pipe.vae.config.scaling_factor
    text = evaluator.model.encode(evaluator.model.tokenize(captions))
    random = torch.Generator().manual_seed(0)
    total = 0.0
    for time in LOW_TIMES:
        alpha = float(evaluator.model.scheduler.alphas_cumprod[time])
        noise = torch.randn(x0_BCHW.shape, generator=random)
        noisy = alpha**0.5 * x0_BCHW + (1 - alpha) ** 0.5 * noise
        total += float((evaluator.model.predict(noisy, time, text) - noise).square().mean())
    return total / len(LOW_TIMES)
