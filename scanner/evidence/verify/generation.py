"""Generate images from captions with several seeds, and measure and store them in an actor."""

import io
import json
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from scanner.cluster import Result
from scanner.cluster.broken_devices import raise_broken_devices
from scanner.credentials import without_secrets
from scanner.evidence.embedding import Embedding
from scanner.evidence.image_tensors import as_image
from scanner.evidence.training_images.sample_images import SampleImages
from scanner.evidence.verify.attacking import find_attacks, make_adversary
from scanner.evidence.verify.drawing import Recipe, draw
from scanner.evidence.verify.measures import Agreement, agreement, likeness
from scanner.evidence.verify.mitigated import unmitigated
from scanner.memory import is_out_of_memory
from scanner.mitigation.adversary.perturbation import perturbed
from scanner.mitigation.adversary.search import Adversary, Attack
from scanner.models.device.gpu_share import keep_to_share
from scanner.models.files.finding import find_same_model
from scanner.models.pipeline import load_pipeline
from scanner.run import Output
from scanner.run.verdicts import ATTACKS, ATTACKS_KIND, MEASURES
from scanner.storage import ImageHosts, Roots, Store

PICTURE = 8


@dataclass(frozen=True)
class CaptionGroup:
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
        pipe = self.make_pipeline(files, recipe.model.dtype, self.device)
        return Generator(
            self,
            pipe,
            Embedding(*self.embedding) if self.embedding else None,
            self.batch_size,
            make_adversary(files, pipe, recipe, self.batch_size) if recipe.adversary else None,
        )


@dataclass
class _DrawnGroup:
    """A group in progress: G captions, K seeds; images and noise are empty until generated.

    ``attacks``: each with the number of its caption; A of them.
    """

    group: CaptionGroup
    references: list[list[Image.Image | None]]
    problems: Counter[str]
    images_GKCHW: Tensor = field(default_factory=lambda: torch.empty(0))
    noise_GKCHW: Tensor = field(default_factory=lambda: torch.empty(0))
    attacks: list[tuple[int, Attack]] = field(default_factory=list)
    attacked_AKCHW: Tensor = field(default_factory=lambda: torch.empty(0))
    attacked_noise_AKCHW: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass
class Generator:
    """The work (scanner.cluster.Work)."""

    how: GenerateWork
    pipe: Any
    embedding: Embedding | None
    batch_size: int
    adversary: Adversary | None = None
    hosts: ImageHosts = field(default_factory=ImageHosts)

    def prepare(self, item: CaptionGroup) -> _DrawnGroup:
        how = self.how
        finder = SampleImages(how.images, how.image_column, how.roots, self.hosts)
        # All at once, to read a file with samples of several captions only once.
        images = iter(finder.images([sample for mine in item.samples for sample in mine]))
        return _DrawnGroup(
            item, [[next(images) for _ in mine] for mine in item.samples], finder.problems
        )

    def compute(self, prepared: _DrawnGroup) -> _DrawnGroup:
        captions = [caption for _, caption in prepared.group.captions]
        with raise_broken_devices():
            prepared.images_GKCHW, prepared.noise_GKCHW = self._draw(captions)
            if self.adversary is None:
                return prepared
            prepared.attacks = find_attacks(self.adversary, captions, prepared.references)
            if prepared.attacks:
                attacks = [attack for _, attack in prepared.attacks]
                prepared.attacked_AKCHW, prepared.attacked_noise_AKCHW = self._draw(
                    [attack.caption for attack in attacks], [attack.offset_LC for attack in attacks]
                )
        return prepared

    def _draw(
        self, captions: list[str], offsets: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw captions with all seeds; return the images (N, K, 3, H, W) and the differences.

        ``offsets``: added to the captions' embeddings.
        """
        seeds = range(self.how.recipe.seeds)
        wanted = [(number, seed) for number in range(len(captions)) for seed in seeds]
        made: list[tuple[Tensor, Tensor]] = []
        start = 0
        while start < len(wanted):
            part = wanted[start : start + self.batch_size]
            pairs = [(captions[number], seed) for number, seed in part]
            moved = offsets and torch.stack([offsets[number] for number, _ in part])
            drawn = self._draw_if_it_fits(pairs, moved)
            if drawn is None:
                # After the failed frames are gone: until then, their tensors hold memory.
                torch.cuda.empty_cache()
                continue
            made.append(drawn)
            start += len(part)
        images, noise = (
            torch.cat(each).unflatten(0, (-1, len(seeds))) for each in zip(*made, strict=True)
        )
        return images, noise

    def _draw_if_it_fits(
        self, part: list[tuple[str, int]], offset_NLC: Tensor | None
    ) -> tuple[Tensor, Tensor] | None:
        """Draw a batch; None if memory runs out, after halving the batch size for good."""
        moved: AbstractContextManager[None] = nullcontext()
        if offset_NLC is not None:
            moved = perturbed(unmitigated(self.pipe), offset_NLC)
        try:
            with moved:
                return draw(self.pipe, part, self.how.recipe)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or self.batch_size == 1:
                raise
            self.batch_size //= 2
            return None

    def finish(self, computed: _DrawnGroup) -> Result:
        rows, rejects = [], {}
        for number, (caption_id, _) in enumerate(computed.group.captions):
            row = self._row(computed, number)
            if row is None:
                rejects[caption_id] = "the model's output is not finite"
            else:
                rows.append(row)
        problems: Counter[str] = Counter()
        for why, count in computed.problems.items():
            problems[without_secrets(why)] += count
        shapes = (computed.images_GKCHW.shape[:2], computed.attacked_AKCHW.shape[:2])
        notes = {
            "images": sum(shape.numel() for shape in shapes),
            "problems": dict(problems),
            "rejects": rejects,
        }
        outputs = [Output("measures", pa.Table.from_pylist(rows, schema=MEASURES))]
        if self.adversary is not None:
            attacked = [self._attacked_row(computed, n) for n in range(len(computed.attacks))]
            kept = [row for row in attacked if row is not None]
            outputs.append(Output(ATTACKS_KIND, pa.Table.from_pylist(kept, schema=ATTACKS)))
        return Result(outputs, notes)

    def _attacked_row(self, computed: _DrawnGroup, attack_number: int) -> dict[str, Any] | None:
        """Return a row of ATTACKS; None if the model's output is not finite."""
        number, attack = computed.attacks[attack_number]
        images = computed.attacked_AKCHW[attack_number]
        row = self._row(
            computed, number, (attack.kind, images, computed.attacked_noise_AKCHW[attack_number])
        )
        return row and row | {
            "kind": attack.kind,
            "attacked_caption": attack.caption,
            "distance": attack.distance,
            "error": attack.error,
        }

    def _row(
        self, computed: _DrawnGroup, number: int, attacked: tuple[str, Tensor, Tensor] | None = None
    ) -> dict[str, Any] | None:
        """Return a row of MEASURES of a caption; None if the model's output is not finite.

        ``attacked``: an attack's kind, images and noise differences, in place of the caption's own.
        """
        caption_id, caption = computed.group.captions[number]
        kind = attacked[0] if attacked else None
        images, noise = computed.images_GKCHW[number], computed.noise_GKCHW[number]
        if attacked:
            _, images, noise = attacked
        if not (images.isfinite().all() and noise.isfinite().all()):
            return None
        samples, references = computed.group.samples[number], computed.references[number]
        matched = [(s, r) for s, r in zip(samples, references, strict=True) if r is not None]
        return {
            "caption_id": caption_id,
            "caption": caption,
            "seeds": len(images),
            "n_references": len(matched),
            "images": self._keep(caption_id, caption, images, kind),
            **self._measure(images, noise, matched),
        }

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

    def _keep(self, caption_id: str, caption: str, images: Tensor, attack: str | None) -> list[str]:
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
                about.add_text("mitigation", json.dumps(recipe.mitigation.options))
            if attack:
                about.add_text("attack", attack)
            about.add_text("seed", str(seed))
            about.add_text("caption_id", caption_id)
            about.add_itxt("caption", caption)
            data = io.BytesIO()
            as_image(picture).save(data, "PNG", pnginfo=about)
            # A purge finds images by the caption id that their names begin with.
            name = f"images/{caption_id}-{f'{attack}-' if attack else ''}{seed}.png"
            self.how.out.write(name, data.getvalue())
            names.append(f"{self.how.place}{name}")
        return names
