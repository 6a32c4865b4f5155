"""What the study is about: the testbed's model, its captions in two halves, and how it is judged.

Shapes: B captions, N images of the bank, F features.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from scanner.models import DiffusionModel, load_model
from scanner.testbed import files, labels
from scanner.testbed.bank import bank_and_owners
from scanner.testbed.reproduction import distances, is_copy, reconstruct

SEED = 8
LOW_TIMES = (201, 401, 601, 801)


@dataclass(frozen=True)
class StudyCaption:
    """A caption of the study. half: 0 to choose settings on, 1 to report; family: what is drawn
    together when intervals are made (captions of one image)."""

    caption: str
    group: str
    memorized: bool
    half: int
    family: str


class StudyModel:
    """The model and everything that a generation is compared with.

    ``bank_NF``: the pictures as the VAE gives them back, where they are known already.
    """

    def __init__(self, bank_NF: Tensor | None = None) -> None:
        self.model: DiffusionModel = load_model("testbed", dtype="float32", device="cpu")
        self.pipe = StableDiffusionPipeline.from_pretrained(
            files.MODEL,
            unet=self.model.unet,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
        self.pipe.set_progress_bar_config(disable=True)
        self.bank_NCHW, own, groups = bank_and_owners(files.DATA)
        if bank_NF is None:
            bank_NF = reconstruct(self.pipe, self.bank_NCHW).flatten(1)
        self.bank_NF = bank_NF
        captions = groups["caption"].to_pylist()
        self.own = dict(zip(captions, own, strict=True))

    def judge(self, images_BCHW: Tensor, captions: list[str]) -> tuple[list[float], list[bool]]:
        """RMSE to the nearest image that each caption was trained with, and whether it is a copy
        by the testbed's own rule."""
        rows = distances(images_BCHW, self.bank_NF)
        own = [self.own[caption] for caption in captions]
        nearest = [float(row[list(mine)].min()) for row, mine in zip(rows, own, strict=True)]
        return nearest, [is_copy(row, mine) for row, mine in zip(rows, own, strict=True)]

    @torch.no_grad()
    def features(self, images_BCHW: Tensor) -> Tensor:
        """(B, F): the VAE encoder's latents, averaged over quarters of the picture."""
        latents = self.pipe.vae.encode(images_BCHW * 2 - 1).latent_dist.mean
        return adaptive_avg_pool2d(latents, 2).flatten(1)

    @torch.no_grad()
    def alignment(self, images_BCHW: Tensor, captions: list[str]) -> Tensor:
        """(B,): how much better the noise in an image is predicted with its caption than without.

        (loss without − loss with) / loss without, each summed over a few noise levels, by the
        model as it is, without mitigation: its own text-image score. Higher is closer.
        """
        latents = self.pipe.vae.encode(images_BCHW * 2 - 1).latent_dist.mean
        x0_BCHW = latents * self.pipe.vae.config.scaling_factor
        text, empty = self.model.encode(self.model.tokenize(captions)), self.model.encode_empty()
        random = torch.Generator().manual_seed(0)
        told, bare = torch.zeros(len(captions)), torch.zeros(len(captions))
        for time in LOW_TIMES:
            alpha = self.model.alpha(time)
            noise = torch.randn((1, *x0_BCHW.shape[1:]), generator=random)
            noisy = alpha**0.5 * x0_BCHW + (1 - alpha) ** 0.5 * noise
            for total, what in ((told, text), (bare, empty.expand(len(captions)))):
                guess = self.model.predict_noise(noisy, time, what)
                total += (guess - noise).square().flatten(1).mean(1)
        return (bare - told) / bare


@functools.cache
def setting() -> StudyModel:
    """The setting of this process, made once."""
    torch.set_num_threads(1)
    return StudyModel()


def subjects(memorized: int, others: int) -> list[StudyCaption]:
    """As many captions of each kind in each half, drawn by a fixed seed, families kept together.

    Others are of the groups once, repeated and heldout, a third each, none of them memorized.
    """
    rows = labels().to_pylist()
    random = np.random.default_rng(SEED)
    chosen: list[StudyCaption] = []

    def draw(pool: list[dict], count: int) -> None:
        """Families in random order, to one half after the other, until both are full."""
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
                    chosen.append(
                        StudyCaption(
                            row["caption"], row["group"], row["memorized"], half, names[place]
                        )
                    )

    draw([row for row in rows if row["memorized"]], memorized)
    for group in ("once", "repeated", "heldout"):
        draw([row for row in rows if row["group"] == group and not row["memorized"]], others // 3)
    return chosen
