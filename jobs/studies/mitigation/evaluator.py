"""The testbed's model with its image metrics, and the captions of the study in two halves.

Shapes: B captions, N images of the bank, F features.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from scanner.models import DiffusionModel, load_model
from scanner.models.files.finding import find_model
from scanner.models.noise_process import FlowMatching
from scanner.models.pipeline import pipeline_of
from scanner.testbed import files, labels
from scanner.testbed.bank import bank_and_owners
from scanner.testbed.reproduction import distances, is_copy, reconstruct

SEED = 8
LOW_TIMES = (201, 401, 601, 801)


@dataclass(frozen=True)
class StudyCaption:
    """A caption of the study.

    ``half``: 0 to choose settings, 1 to report; ``family``: captions of one image, resampled
    together in the bootstrap.
    """

    caption: str
    group: str
    memorized: bool
    half: int
    family: str


class Evaluator:
    """A testbed's pipeline, and metrics that compare its generations with the training images.

    ``bank_NF``: the VAE's reconstructions of the images, computed if not given. ``testbed``:
    the model's name.
    """

    def __init__(self, bank_NF: Tensor | None = None, testbed: str = "testbed") -> None:
        self.model: DiffusionModel = load_model(testbed, dtype="float32", device="cpu")
        self.pipe = pipeline_of(find_model(testbed), self.model)
        self.pipe.set_progress_bar_config(disable=True)
        self.bank_NCHW, own, groups = bank_and_owners(files.DATA)
        if bank_NF is None:
            bank_NF = reconstruct(self.pipe, self.bank_NCHW).flatten(1)
        self.bank_NF = bank_NF
        captions = groups["caption"].to_pylist()
        self.own = dict(zip(captions, own, strict=True))

    def judge(self, images_BCHW: Tensor, captions: list[str]) -> tuple[list[float], list[bool]]:
        """Return per image the RMSE to the nearest training image of its caption, and whether it
        is a copy by the testbed's rule."""
        rows = distances(images_BCHW, self.bank_NF)
        own = [self.own[caption] for caption in captions]
        nearest = [float(row[list(images)].min()) for row, images in zip(rows, own, strict=True)]
        return nearest, [is_copy(row, images) for row, images in zip(rows, own, strict=True)]

    @torch.no_grad()
    def features(self, images_BCHW: Tensor) -> Tensor:
        """Return features (B, F): the VAE's latents averaged over each quarter of the image."""
        latents = self.pipe.vae.encode(images_BCHW * 2 - 1).latent_dist.mean
        return adaptive_avg_pool2d(latents, 2).flatten(1)

    @torch.no_grad()
    def alignment(self, images_BCHW: Tensor, captions: list[str]) -> Tensor:
        """Return a text-image score (B,): how much the caption improves the noise prediction.

        (loss without − loss with) / loss without, each summed over a few noise levels, computed by
        the same model without mitigation. Higher is closer.
        """
        config = self.pipe.vae.config
        latents = self.pipe.vae.encode(images_BCHW * 2 - 1).latent_dist.mean
        x0_BCHW = (latents - (config.shift_factor or 0)) * config.scaling_factor
        text, empty = self.model.encode(self.model.tokenize(captions)), self.model.encode_empty()
        random = torch.Generator().manual_seed(0)
        conditional, unconditional = torch.zeros(len(captions)), torch.zeros(len(captions))
        for time in LOW_TIMES:
            noise = torch.randn((1, *x0_BCHW.shape[1:]), generator=random)
            noisy, target = _noisy(self.model, x0_BCHW, noise, time)
            for total, conditioning in (
                (conditional, text),
                (unconditional, empty.expand(len(captions))),
            ):
                pred = self.model.predict(noisy, time, conditioning)
                total += (pred - target).square().flatten(1).mean(1)
        return (unconditional - conditional) / unconditional


def _noisy(model: DiffusionModel, x0_BCHW: Tensor, noise: Tensor, time: int) -> tuple[Any, Any]:
    """Return latents at a timestep, and what the model should predict: ε, or v = ε − x₀."""
    if isinstance(model.noise_process, FlowMatching):
        sigma = time / model.noise_process.levels
        return (1 - sigma) * x0_BCHW + sigma * noise, noise - x0_BCHW
    alpha = float(model.scheduler.alphas_cumprod[time])
    return alpha**0.5 * x0_BCHW + (1 - alpha) ** 0.5 * noise, noise


@functools.cache
def shared_evaluator(testbed: str = "testbed") -> Evaluator:
    """Return this process's evaluator, created on the first call."""
    torch.set_num_threads(1)
    return Evaluator(testbed=testbed)


def sample_captions(memorized: int, others: int, testbed: str = "testbed") -> list[StudyCaption]:
    """Sample captions for each half with a fixed seed; a family never spans both halves.

    ``memorized``, ``others``: per half. Others are not memorized: a third each of the groups once,
    repeated and heldout.
    """
    rows = labels(testbed).to_pylist()
    random = np.random.default_rng(SEED)
    sample: list[StudyCaption] = []

    def draw(pool: list[dict], count: int) -> None:
        """Assign families in random order to the emptier half until both hold ``count``."""
        families: dict[str, list[dict]] = {}
        for row in pool:
            name = row["caption"] if row["family"] is None else f"family {row['family']}"
            families.setdefault(name, []).append(row)
        names = list(families)
        filled = [0, 0]
        for place in random.permutation(len(names)):
            half = int(filled[1] < filled[0])
            for row in families[names[place]]:
                if filled[half] < count:
                    filled[half] += 1
                    sample.append(
                        StudyCaption(
                            row["caption"], row["group"], row["memorized"], half, names[place]
                        )
                    )

    draw([row for row in rows if row["memorized"]], memorized)
    for group in ("once", "repeated", "heldout"):
        draw([row for row in rows if row["group"] == group and not row["memorized"]], others // 3)
    return sample
