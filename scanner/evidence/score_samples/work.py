"""The work of scoring samples in an actor: read a group's images, encode them, denoise."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from scanner.captions.images import resize_and_crop
from scanner.cluster import Result
from scanner.cluster.broken_devices import raise_broken_devices
from scanner.credentials import without_secrets
from scanner.evidence.score_samples.denoising import SampleDenoiser, SampleErrors
from scanner.evidence.training_images.image_groups import ImageGroup
from scanner.evidence.training_images.sample_images import SampleImages
from scanner.models import ModelSpec, load_model
from scanner.models.device.gpu_share import keep_to_share
from scanner.models.encoding import load_encoder
from scanner.models.files.finding import find_same_model
from scanner.models.noise_process import Timestep
from scanner.run import Output
from scanner.run.image_tables import SAMPLE_SCORES
from scanner.storage import ImageHosts, Roots

SCORES = "scores"
# Filled in when all groups are done.
_LATER = ("scoring", "scored_at")
GROUP_SCORES = pa.schema([one for one in SAMPLE_SCORES if one.name not in _LATER])
NOT_FINITE = "the model's output is not finite"


@dataclass(frozen=True)
class SampleRecipe:
    """Settings that, with caption and image, determine a sample's score."""

    model: ModelSpec
    weights: str
    levels: tuple[Timestep, ...]
    noises: int
    height: int | None
    width: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ScoreSamplesWork:
    """Picklable factory of an actor's work; loads nothing until it is called.

    ``images``, ``image_column``, ``roots``: as SampleImages takes them. ``gpu_share``: of one GPU's
    memory, for each actor.
    """

    recipe: SampleRecipe
    device: str
    threads: int
    batch_size: int
    images: str | None
    image_column: str | None
    roots: Roots
    gpu_share: float = 1.0

    def __call__(self) -> "SampleScorer":
        recipe = self.recipe
        if self.device == "cpu":
            torch.set_num_threads(self.threads)
        keep_to_share(self.device, self.gpu_share)
        files = find_same_model(recipe.model, recipe.weights)
        model = load_model(files, device=self.device, weights=recipe.weights)
        denoiser = SampleDenoiser(
            model,
            load_encoder(files, self.device),
            recipe.levels,
            recipe.noises,
            self.batch_size,
            recipe.height,
            recipe.width,
        )
        return SampleScorer(self, denoiser)


@dataclass
class ReadGroup:
    """A group with the images that could be read, (3, H, W) bytes by name, and why others could
    not."""

    group: ImageGroup
    images: dict[str, np.ndarray]
    problems: dict[str, int]
    errors: SampleErrors | None = None


@dataclass
class SampleScorer:
    """The work (scanner.cluster.Work)."""

    how: ScoreSamplesWork
    denoiser: SampleDenoiser
    hosts: ImageHosts = field(default_factory=ImageHosts)

    def prepare(self, item: ImageGroup) -> ReadGroup:
        how = self.how
        finder = SampleImages(how.images, how.image_column, how.roots, self.hosts)
        names = item.rows["image"].to_pylist()
        files = dict(zip(names, item.rows["file"].to_pylist(), strict=True))
        pictures = finder.images(list(files.values()))
        read = {
            name: _pixels(picture, *self.denoiser.size)
            for name, picture in zip(files, pictures, strict=True)
            if picture is not None
        }
        problems = {without_secrets(why): count for why, count in finder.problems.items()}
        return ReadGroup(item, read, problems)

    def compute(self, prepared: ReadGroup) -> ReadGroup:
        if not prepared.images:
            return prepared
        rows = _readable(prepared)
        images = {name: number for number, name in enumerate(prepared.images)}
        captions = {
            text: number for number, text in enumerate(dict.fromkeys(rows["caption"].to_pylist()))
        }
        pairs = [
            (images[image], captions[caption])
            for image, caption in zip(
                rows["image"].to_pylist(), rows["caption"].to_pylist(), strict=True
            )
        ]
        pixels = torch.from_numpy(np.stack(list(prepared.images.values())))
        with raise_broken_devices():
            latents = self.denoiser.latents(pixels.float() / 127.5 - 1)
            prepared.errors = self.denoiser.errors(latents, list(captions), pairs)
        return prepared

    def finish(self, computed: ReadGroup) -> Result:
        rows = _readable(computed)
        table = GROUP_SCORES.empty_table()
        if computed.errors is not None:
            table = _scores(rows, computed.errors, self.denoiser)
        notes = {
            "images": len(computed.images),
            "missing": len(computed.group.rows) - len(rows),
            "problems": computed.problems,
            "reasons": {NOT_FINITE: len(rows) - len(table)} if len(table) < len(rows) else {},
        }
        return Result([Output(SCORES, table)], notes)


def _pixels(image: Image.Image, height: int, width: int) -> np.ndarray:
    return np.array(resize_and_crop(image, height, width)).transpose(2, 0, 1)


def _readable(group: ReadGroup) -> pa.Table:
    """Return the rows whose image was read."""
    rows = group.group.rows
    return rows.filter(pa.array([name in group.images for name in rows["image"].to_pylist()]))


def _scores(rows: pa.Table, errors: SampleErrors, denoiser: SampleDenoiser) -> pa.Table:
    """Return the scores (GROUP_SCORES) of rows, without those that are not finite."""
    by_level_PS = errors.discrepancy_PSK.mean(-1)
    without_P = errors.unconditional_PSK.mean((1, 2))
    finite = (by_level_PS.isfinite().all(1) & without_P.isfinite()).numpy()
    count = len(rows)
    given = {name: rows[name] for name in GROUP_SCORES.names if name in rows.column_names}
    columns = given | {
        "clid": by_level_PS.mean(1).numpy(),
        "clid_levels": by_level_PS.tolist(),
        "denoising_error": without_P.numpy(),
        "levels": [list(map(float, denoiser.levels))] * count,
        "noises": [len(denoiser.noise_KCHW)] * count,
    }
    table = pa.table({name: columns[name] for name in GROUP_SCORES.names}, schema=GROUP_SCORES)
    return table.filter(pa.array(finite))
