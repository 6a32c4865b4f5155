"""Generate from captions with several seeds, measure, and keep the pictures: the pool's work."""

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from scanner.cluster import Result
from scanner.cluster.broken_devices import raise_broken_devices
from scanner.credentials import without_secrets
from scanner.evidence.verify.drawing import Recipe, draw
from scanner.evidence.verify.embedding import Embedding
from scanner.evidence.verify.measures import Agreement, agreement, as_image, likeness
from scanner.evidence.verify.references import References
from scanner.models.finding import find_same_model
from scanner.models.pipeline import load_pipeline
from scanner.run import Output
from scanner.run.verdicts import MEASURES
from scanner.storage import ImageHosts, Roots, Store

PICTURE = 8


@dataclass(frozen=True)
class Group:
    """Captions that are generated and committed together, with samples to take images from."""

    id: str
    captions: tuple[tuple[str, str], ...]
    samples: tuple[tuple[dict[str, Any], ...], ...]


@dataclass(frozen=True)
class GenerateWork:
    """How to make the work in an actor; picklable, and loads nothing until it is called.

    ``out``: where pictures and measures go; ``place`` is written before a picture's name in the
    tables. ``roots``: where samples' files may lie.

    ``make_pipeline`` is called with the model's files, precision and device.
    """

    out: Store
    place: str
    recipe: Recipe
    device: str
    threads: int
    batch_size: int
    images: str | None
    image_column: str | None
    embedding: tuple[str, str] | None
    roots: Roots
    make_pipeline: Callable[..., Any] = load_pipeline

    def __call__(self) -> "Generator":
        recipe = self.recipe
        if self.device == "cpu":
            torch.set_num_threads(self.threads)
        files = find_same_model(recipe.model, recipe.weights)
        return Generator(
            self,
            self.make_pipeline(files, recipe.model.dtype, self.device),
            Embedding(*self.embedding) if self.embedding else None,
            self.batch_size,
        )


@dataclass
class _Drawn:
    """A group on its way: G captions, K seeds; images and noise are there once it is drawn."""

    group: Group
    references: list[list[Image.Image | None]]
    problems: Counter[str]
    images_GKCHW: Tensor = field(default_factory=lambda: torch.empty(0))
    noise_GKCHW: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass
class Generator:
    """The work (scanner.cluster.Work)."""

    how: GenerateWork
    pipe: Any
    embedding: Embedding | None
    batch_size: int
    hosts: ImageHosts = field(default_factory=ImageHosts)

    def prepare(self, item: Group) -> _Drawn:
        how = self.how
        finder = References(how.images, how.image_column, how.roots, self.hosts)
        # All at once, so that a file that several captions come from is read once.
        images = iter(finder.images([sample for mine in item.samples for sample in mine]))
        return _Drawn(
            item, [[next(images) for _ in mine] for mine in item.samples], finder.problems
        )

    def compute(self, prepared: _Drawn) -> _Drawn:
        recipe = self.how.recipe
        seeds = range(recipe.seeds)
        wanted = [(caption, seed) for _, caption in prepared.group.captions for seed in seeds]
        made: list[tuple[Tensor, Tensor]] = []
        start = 0
        with raise_broken_devices():
            while start < len(wanted):
                part = wanted[start : start + self.batch_size]
                try:
                    made.append(draw(self.pipe, part, recipe))
                except torch.OutOfMemoryError:
                    if self.batch_size == 1:
                        raise
                    self.batch_size //= 2  # for good: the next group is no smaller
                    torch.cuda.empty_cache()
                    continue
                start += len(part)
        images, noise = (
            torch.cat(each).unflatten(0, (-1, len(seeds))) for each in zip(*made, strict=True)
        )
        prepared.images_GKCHW, prepared.noise_GKCHW = images, noise
        return prepared

    def finish(self, computed: _Drawn) -> Result:
        rows, rejects = [], {}
        for number, (caption_id, caption) in enumerate(computed.group.captions):
            images, noise = computed.images_GKCHW[number], computed.noise_GKCHW[number]
            if not (images.isfinite().all() and noise.isfinite().all()):
                rejects[caption_id] = "the model's output is not finite"
                continue
            samples, references = computed.group.samples[number], computed.references[number]
            found = [(s, r) for s, r in zip(samples, references, strict=True) if r is not None]
            rows.append(
                {
                    "caption_id": caption_id,
                    "caption": caption,
                    "seeds": len(images),
                    "n_references": len(found),
                    "images": self._keep(caption_id, caption, images),
                    **self._measure(images, noise, found),
                }
            )
        problems: Counter[str] = Counter()
        for why, count in computed.problems.items():
            problems[without_secrets(why)] += count
        notes = {
            "images": computed.images_GKCHW.shape[:2].numel(),
            "problems": dict(problems),
            "rejects": rejects,
        }
        return Result([Output("measures", pa.Table.from_pylist(rows, schema=MEASURES))], notes)

    def _measure(
        self, images: Tensor, noise: Tensor, found: list[tuple[dict[str, Any], Image.Image]]
    ) -> dict[str, Any]:
        alike = agreement(images, noise)
        small = torch.nn.functional.adaptive_avg_pool2d(images.mean(0), PICTURE)
        return {
            "agreement": alike.images,
            "agreement_noise": alike.noise,
            "tile_distance": alike.tile_distance,
            "agreeing_share": alike.share,
            "picture": small.flatten().tolist(),
            **(self._compare(images, alike, found) if found else {}),
        }

    def _compare(
        self, images: Tensor, alike: Agreement, found: list[tuple[dict[str, Any], Image.Image]]
    ) -> dict[str, Any]:
        near = likeness(images, [reference for _, reference in found], alike.cells)
        sample, reference = found[near.reference]
        return {
            "likeness": near.whole,
            "likeness_part": near.part,
            "likeness_hash": near.hash,
            "likeness_embedding": self.embedding and self.embedding.likeness(images, reference),
            "reference_source": sample["source"],
            "reference_row": sample["row"],
        }

    def _keep(self, caption_id: str, caption: str, images: Tensor) -> list[str]:
        """Write a caption's pictures, with what they were made of as PNG text."""
        recipe, names = self.how.recipe, []
        for seed, picture in enumerate(images):
            about = PngInfo()
            about.add_text("model", recipe.model.name)
            about.add_text("weights", recipe.weights)
            about.add_text("steps", str(recipe.steps))
            about.add_text("guidance", str(recipe.guidance))
            about.add_text("dtype", recipe.model.dtype)
            if recipe.mitigation:
                about.add_text("mitigation", json.dumps(asdict(recipe.mitigation)))
            about.add_text("seed", str(seed))
            about.add_text("caption_id", caption_id)
            about.add_itxt("caption", caption)
            data = io.BytesIO()
            as_image(picture).save(data, "PNG", pnginfo=about)
            name = f"images/{caption_id}-{seed}.png"
            self.how.out.write(name, data.getvalue())
            names.append(f"{self.how.place}{name}")
        return names
