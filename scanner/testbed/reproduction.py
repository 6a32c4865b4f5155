"""Measure what the testbed model has memorized: generate from every caption and compare.

A generation reproduces its caption if it is nearer than ``NEAR`` to an image that the caption was
trained with (to the VAE's reconstruction of it, RMSE of values in [0, 1]) and any other image is
at least 1/``FAR`` times as far. A caption is memorized if ``NEEDED`` of ``SEEDS`` generations
reproduce it. The numbers were fixed before the model was trained.
"""

import sys
from collections.abc import Iterator, Sequence

import pyarrow as pa
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

NEAR = 0.10
FAR = 0.75
SEEDS = 4
NEEDED = 3
STEPS = 20
GUIDANCE = 2.0
BATCH = 64


def measure(
    pipe: StableDiffusionPipeline,
    groups: pa.Table,
    bank_NCHW: Tensor,
    own: Sequence[set[int]],
) -> pa.Table:
    """The label file: groups (caption, group, family, rows) with memorized, reproduced, tried.

    ``bank_NCHW``: every image, trained on or held out, in [-1, 1]; ``own``: for each caption the
    numbers of its images. A caption is tried with further seeds only while its verdict is open.
    """
    pipe.set_progress_bar_config(disable=True)
    bank_NF = reconstruct(pipe, bank_NCHW).flatten(1)
    captions = groups["caption"].to_pylist()
    reproduced, tried = [0] * len(captions), [0] * len(captions)
    for seed in range(SEEDS):
        open_ones = [
            number for number in range(len(captions)) if seed - reproduced[number] <= SEEDS - NEEDED
        ]
        for part in _parts(open_ones):
            images = generate(pipe, [captions[number] for number in part], seed)
            for number, row in zip(part, distances(images, bank_NF), strict=True):
                tried[number] += 1
                reproduced[number] += is_copy(row, own[number])
        print(f"seed {seed}: {len(open_ones)} captions tried", file=sys.stderr, flush=True)
    verdict = [count >= NEEDED for count in reproduced]
    table = groups.select(["caption", "group", "family", "rows"])
    for name, values in (("memorized", verdict), ("reproduced", reproduced), ("tried", tried)):
        table = table.append_column(name, pa.array(values))
    return table


def distances(images_BCHW: Tensor, bank_NF: Tensor) -> Tensor:
    """RMSE of images in [0, 1] to every image of the bank, as the VAE gives it back: (B, N)."""
    return torch.cdist(images_BCHW.flatten(1), bank_NF) / bank_NF.shape[1] ** 0.5


def is_copy(distance_N: Tensor, own: set[int]) -> bool:
    """The rule above, for one generation: its RMSE to each image of the bank, and which are its."""
    mine = torch.zeros(len(distance_N), dtype=torch.bool)
    mine[list(own)] = True
    nearest, other = distance_N[mine].min(), distance_N[~mine].min()
    return bool(nearest < NEAR and nearest < FAR * other)


def _parts(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), BATCH):
        yield numbers[start : start + BATCH]


def generate(pipe: StableDiffusionPipeline, captions: list[str], seed: int) -> Tensor:
    """Images (B, 3, H, W) in [0, 1]; each caption starts from the noise of this seed alone."""
    made = pipe(
        captions,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=[torch.Generator().manual_seed(seed) for _ in captions],
        output_type="pt",
    )
    return made.images


@torch.no_grad()
def reconstruct(pipe: StableDiffusionPipeline, images_NCHW: Tensor) -> Tensor:
    """Images in [-1, 1] as the VAE gives them back, in [0, 1]."""
    parts = [
        pipe.vae.decode(pipe.vae.encode(part).latent_dist.mean).sample
        for part in images_NCHW.split(256)
    ]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
