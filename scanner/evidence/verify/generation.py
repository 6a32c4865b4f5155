"""Generate images from captions with several seeds, and measure and store them in an actor."""

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
from scanner.memory import is_out_of_memory
from scanner.models.finding import find_same_model
from scanner.models.gpu_share import keep_to_share
from scanner.models.pipeline import load_pipeline
from scanner.run import Output
from scanner.run.verdicts import MEASURES
from scanner.storage import ImageHosts, Roots, Store

PICTURE = 8


@dataclass(frozen=True)
class Group:
    """Captions that are generated and committed together, with samples for training images."""

    id: str
    captions: tuple[tuple[str, str], ...]
    samples: tuple[tuple[dict[str, Any], ...], ...]


@dataclass(frozen=True)
class GenerateWork:
    """Picklable factory of an actor's work; loads nothing until it is called.

    ``out``: store for images and measures; ``place``: prefix of image names in the tables.
    ``roots``: where files of samples may be stored. ``make_pipeline``: called with the model's
    files, dtype and device. ``gpu_share``: of one GPU's memory, for each actor.
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
    gpu_share: float = 1.0

    def __call__(self) -> "Generator":
        recipe = self.recipe
        if self.device == "cpu":
            torch.set_num_threads(self.threads)
        keep_to_share(self.device, self.gpu_share)
        files = find_same_model(recipe.model, recipe.weights)
        return Generator(
            self,
            self.make_pipeline(files, recipe.model.dtype, self.device),
            Embedding(*self.embedding) if self.embedding else None,
            self.batch_size,
        )


@dataclass
class _Drawn:
    """A group in progress: G captions, K seeds; images and noise are empty until generated."""

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
        # All at once, to read a file with samples of several captions only once.
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
                drawn = self._draw_if_it_fits(part)
                if drawn is None:
                    # After the failed frames are gone: until then, their tensors hold memory.
                    torch.cuda.empty_cache()
                    continue
                made.append(drawn)
                start += len(part)
        images, noise = (
            torch.cat(each).unflatten(0, (-1, len(seeds))) for each in zip(*made, strict=True)
        )
        prepared.images_GKCHW, prepared.noise_GKCHW = images, noise
        return prepared

    def _draw_if_it_fits(self, part: list[tuple[str, int]]) -> tuple[Tensor, Tensor] | None:
        """Draw a batch; None if memory runs out, after halving the batch size for good."""
        try:
            return draw(self.pipe, part, self.how.recipe)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or self.batch_size == 1:
                raise
            self.batch_size //= 2
            return None

    def finish(self, computed: _Drawn) -> Result:
        rows, rejects = [], {}
        for number, (caption_id, caption) in enumerate(computed.group.captions):
            images, noise = computed.images_GKCHW[number], computed.noise_GKCHW[number]
            if not (images.isfinite().all() and noise.isfinite().all()):
                rejects[caption_id] = "the model's output is not finite"
                continue
            samples, references = computed.group.samples[number], computed.references[number]
            matched = [(s, r) for s, r in zip(samples, references, strict=True) if r is not None]
            rows.append(
                {
                    "caption_id": caption_id,
                    "caption": caption,
                    "seeds": len(images),
                    "n_references": len(matched),
                    "images": self._keep(caption_id, caption, images),
                    **self._measure(images, noise, matched),
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
        self, images: Tensor, noise: Tensor, matched: list[tuple[dict[str, Any], Image.Image]]
    ) -> dict[str, Any]:
        alike = agreement(images, noise)
        small = torch.nn.functional.adaptive_avg_pool2d(images.mean(0), PICTURE)
        return {
            "agreement": alike.images,
            "agreement_noise": alike.noise,
            "tile_distance": alike.tile_distance,
            "agreeing_share": alike.share,
            "picture": small.flatten().tolist(),
            **(self._compare(images, alike, matched) if matched else {}),
        }

    def _compare(
        self, images: Tensor, alike: Agreement, matched: list[tuple[dict[str, Any], Image.Image]]
    ) -> dict[str, Any]:
        near = likeness(images, [reference for _, reference in matched], alike.cells)
        sample, reference = matched[near.reference]
        return {
            "likeness": near.whole,
            "likeness_part": near.part,
            "likeness_hash": near.hash,
            "likeness_embedding": self.embedding and self.embedding.likeness(images, reference),
            "reference_source": sample["source"],
            "reference_row": sample["row"],
        }

    def _keep(self, caption_id: str, caption: str, images: Tensor) -> list[str]:
        """Write a caption's images, with their settings as PNG text chunks; return their names."""
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
