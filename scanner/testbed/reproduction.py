"""Measure what the testbed model has memorized: generate from every caption and compare.

A generation is a copy if its RMSE (values in [0, 1]) to the VAE's reconstruction of one of the
caption's training images is below ``NEAR``, and below ``FAR`` times that to any other image. A
caption is memorized if ``NEEDED`` of ``SEEDS`` generations are copies. These constants were fixed
before the model was trained.
"""

import sys
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

NEAR = 0.10
FAR = 0.75
SEEDS = 4
NEEDED = 3
STEPS = 20
GUIDANCE = 2.0
BATCH = 64


def measure(
    pipe: DiffusionPipeline,
    groups: pa.Table,
    bank_NCHW: Tensor,
    own: Sequence[set[int]],
    generate: Callable[[DiffusionPipeline, list[str], int], Tensor] | None = None,
) -> pa.Table:
    """Return the labels: groups (caption, group, family, rows) with memorized, reproduced, tried,
    verdict.

    ``generate``: replaces :func:`generate_images`, for a faster equal way.
    ``bank_NCHW``: every image, trained on or held out, in [-1, 1]; ``own``: the image numbers of
    each caption. Stops trying seeds for a caption once its verdict is certain.
    """
    generate = generate or generate_images
    pipe.set_progress_bar_config(disable=True)
    bank_NF = reconstruct(pipe, bank_NCHW).flatten(1)
    captions = groups["caption"].to_pylist()
    reproduced, tried = [0] * len(captions), [0] * len(captions)
    for seed in range(SEEDS):
        undecided = [
            number for number in range(len(captions)) if seed - reproduced[number] <= SEEDS - NEEDED
        ]
        for part in _parts(undecided):
            images = generate(pipe, [captions[number] for number in part], seed)
            for number, row in zip(part, distances(images, bank_NF), strict=True):
                tried[number] += 1
                reproduced[number] += is_copy(row, own[number])
        print(f"seed {seed}: {len(undecided)} captions tried", file=sys.stderr, flush=True)
    memorized = [count >= NEEDED for count in reproduced]
    table = groups.select(["caption", "group", "family", "rows"])
    for name, values in (
        ("memorized", memorized),
        ("reproduced", reproduced),
        ("tried", tried),
        ("verdict", list(map(verdict, memorized, groups["family"].to_pylist()))),
    ):
        table = table.append_column(name, pa.array(values))
    return table


def verdict(memorized: bool, family: int | None) -> str:
    """Return the class of a caption: template if the image it reproduces has other captions too
    (its family), else verbatim; none if it is not memorized."""
    if not memorized:
        return "none"
    return "verbatim" if family is None else "template"


def distances(images_BCHW: Tensor, bank_NF: Tensor) -> Tensor:
    """Return the RMSE of images in [0, 1] to the reconstruction of every bank image: (B, N)."""
    return torch.cdist(images_BCHW.flatten(1), bank_NF) / bank_NF.shape[1] ** 0.5


def is_copy(distance_N: Tensor, own: set[int]) -> bool:
    """Apply the rule above to one generation, given its RMSE to each bank image and the numbers of
    the caption's own images."""
    is_own = torch.zeros(len(distance_N), dtype=torch.bool)
    is_own[list(own)] = True
    nearest, other = distance_N[is_own].min(), distance_N[~is_own].min()
    return bool(nearest < NEAR and nearest < FAR * other)


def _parts(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), BATCH):
        yield numbers[start : start + BATCH]


def generate_images(
    pipe: DiffusionPipeline, captions: list[str], seed: int, **inputs: Tensor
) -> Tensor:
    """Generate images (B, 3, H, W) in [0, 1]; every caption starts from the seed's noise.

    ``inputs``: given to the pipeline in place of the captions.
    """
    result = pipe(
        **(inputs or {"prompt": captions}),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=[torch.Generator().manual_seed(seed) for _ in captions],
        output_type="pt",
    )
    return result.images


@torch.no_grad()
def reconstruct(pipe: DiffusionPipeline, images_NCHW: Tensor) -> Tensor:
    """Encode and decode images in [-1, 1] with the VAE; return them in [0, 1]."""
    parts = [
        pipe.vae.decode(pipe.vae.encode(part).latent_dist.mean).sample
        for part in images_NCHW.split(256)
    ]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
