"""Attack the captions of a verification, and judge what comes of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from scanner.captions.images import resize_and_crop
from scanner.evidence.verify.drawing import Recipe
from scanner.evidence.verify.mitigated import unmitigated
from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verdicts import judge
from scanner.memory import is_out_of_memory
from scanner.mitigation.adversary.search import Adversary, Attack
from scanner.models import ModelFiles
from scanner.models.encoding import load_encoder
from scanner.models.pipeline import denoiser_of, model_of
from scanner.run.schema import with_column
from scanner.run.verdicts import ADVERSARIAL, COPIES, KINDS, MEASURES, OWN_CAPTION


def make_adversary(files: ModelFiles, pipe: Any, recipe: Recipe, batch_size: int) -> Adversary:
    """Return the adversary of a recipe, which shares the pipeline's parts."""
    assert recipe.adversary is not None
    return Adversary(
        model_of(files, pipe, recipe.weights),
        unmitigated(pipe),
        pipe,
        load_encoder(files, str(denoiser_of(pipe).device)),
        recipe.adversary,
        recipe.guidance,
        batch_size,
        recipe.height,
        recipe.width,
    )


def find_attacks(
    adversary: Adversary,
    captions: Sequence[str],
    references: Sequence[Sequence[Image.Image | None]],
) -> list[tuple[int, Attack]]:
    """Attack each caption with its most common training image that could be read; return the
    attacks with the captions' numbers."""
    first = [next((image for image in images if image is not None), None) for images in references]
    pixels = {
        number: as_pixels(image, *adversary.size)
        for number, image in enumerate(first)
        if image is not None
    }
    if not pixels:
        return []
    numbers = [*pixels]
    chosen, images_GCHW = [captions[number] for number in numbers], torch.cat([*pixels.values()])
    while True:
        try:
            attacks = adversary.search(chosen, images_GCHW)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or adversary.batch_size == 1:
                raise
        else:
            return [(numbers[number], attack) for number, attack in attacks]
        # After the failed frames are gone: until then, their tensors hold memory.
        torch.cuda.empty_cache()
        adversary.batch_size //= 2


def as_pixels(image: Image.Image, height: int, width: int) -> Tensor:
    """Convert an image, cropped as for training, to (1, 3, H, W) in [-1, 1]."""
    pixels = np.array(resize_and_crop(image, height, width)).transpose(2, 0, 1)
    return torch.from_numpy(pixels.copy())[None].float() / 127.5 - 1


def add_adversarial(
    verdicts: pa.Table, measures: pa.Table, attacks: pa.Table, thresholds: Thresholds
) -> pa.Table:
    """Return verdicts with the columns ADVERSARIAL: of each caption that was compared with a
    training image, the verdict on the start whose images are most like it.

    ``measures``, ``attacks``: what the captions, and the starts near them, generate. Since a
    caption is near itself, an attack never makes its likeness lower.
    """
    own = [
        row | {"kind": OWN_CAPTION, "attacked_caption": row["caption"], "distance": 0.0, "error": 1}
        for row in measures.to_pylist()
        if row["likeness"] is not None
    ]
    best: dict[str, dict[str, Any]] = {row["caption_id"]: row for row in own}
    for row in attacks.to_pylist():
        if row["likeness"] > best[row["caption_id"]]["likeness"]:
            best[row["caption_id"]] = row
    judged = judge(pa.Table.from_pylist([*best.values()], MEASURES), thresholds)
    found = {
        row["caption_id"]: {
            "adversarial_verdict": verdict,
            "adversarial_kind": row["kind"],
            "adversarial_caption": _if_changed(row),
            "adversarial_distance": row["distance"],
            "adversarial_error": row["error"],
            "adversarial_likeness": row["likeness"],
            "adversarial_images": row["images"],
        }
        for row, verdict in zip(best.values(), judged["verdict"].to_pylist(), strict=True)
    }
    ids = verdicts["caption_id"].to_pylist()
    for field in ADVERSARIAL:
        values = [found.get(name, {}).get(field.name) for name in ids]
        verdicts = with_column(verdicts, field.name, pa.array(values, field.type))
    return verdicts


def _if_changed(row: dict[str, Any]) -> str | None:
    changed: str = row["attacked_caption"]
    return None if changed == row["caption"] else changed


@dataclass(frozen=True)
class AttackOutcome:
    """``attacked``: captions with a training image; ``verdicts``: these by adversarial verdict;
    ``only_under_attack``: those that are copies by that verdict, but not by the first one;
    ``kinds``: the latter by what the adversary changed."""

    attacked: int
    verdicts: dict[str, int]
    only_under_attack: int
    kinds: dict[str, int]


def count_attacks(verdicts: pa.Table) -> AttackOutcome:
    """Count the adversarial verdicts of a table of verdicts."""
    names = ("verdict", "adversarial_verdict", "adversarial_kind")
    rows = [row for row in verdicts.select(names).to_pylist() if row["adversarial_verdict"]]
    counts = Counter(row["adversarial_verdict"] for row in rows)
    brought_back = [
        row for row in rows if row["adversarial_verdict"] in COPIES and row["verdict"] not in COPIES
    ]
    return AttackOutcome(
        attacked=len(rows),
        verdicts={kind: counts[kind] for kind in KINDS},
        only_under_attack=len(brought_back),
        kinds=dict(Counter(row["adversarial_kind"] for row in brought_back)),
    )
