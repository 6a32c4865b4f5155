"""Score the testbed's captions with a model of the study: scans, and what no scan computes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor

from jobs.console.progress import ScanProgress
from jobs.studies.late_step.models import PACKAGED, VARIANTS, labels_file, model_folder
from scanner.calibration import Labels, match_labels
from scanner.calibration.features import ATTENTION_SIGNALS
from scanner.calibration.labels.labeled_captions import LabeledCaptions
from scanner.calibration.statistics.bootstrap import Bools, Floats
from scanner.models import DiffusionModel, find_model, load_model
from scanner.models.decoding import load_vae
from scanner.models.traits import UNET
from scanner.query import open_run
from scanner.scan.config import ScanConfig
from scanner.scan.scan import scan
from scanner.scoring import Scorer
from scanner.scoring.catalog import find_signal
from scanner.scoring.forwards import Forwards
from scanner.scoring.observing import observe
from scanner.signals.noise import noise_norm
from scanner.testbed import bank, files, training

TIMESTEPS = (981, 881, 781, 581, 381, 281, 181, 81, 41, 1)
FIRST, LOW = 981, 41
SEEDED = (981, 81, 41)
SEEDS = 4
SIDES = (1.0, 0.75, 0.5)
SCALES = (0.0, 0.5, 2.0)
IMAGE_SIDE = 32
BATCH = 256
NORMS = tuple(f"noise_norm@{timestep}" for timestep in TIMESTEPS)
CROSS_ATTENTION = tuple(n for n in ATTENTION_SIGNALS if find_signal(n).needs.traits <= UNET)
ATTENTION = tuple(f"{name}{at}" for name in CROSS_ATTENTION for at in ("", "@low"))
SEEDS_RUN = "seeds"


@dataclass(frozen=True)
class ModelScores:
    """A model's scores. ``scans``: the labeled captions with their scores, by latent side as a
    share of the model's own, and of several seeds; all in one order. ``extra``: what no scan
    computes, in the same order. ``images``: of the data set. ``groups``, ``reproduced``: group and
    share of generations that are copies, from the labels."""

    name: str
    scans: dict[float, LabeledCaptions]
    seeds: LabeledCaptions
    extra: pa.Table
    images: int
    groups: list[str]
    reproduced: list[float]

    @property
    def captions(self) -> LabeledCaptions:
        """The scan at the model's own size."""
        return self.scans[1.0]

    def norm(self, timestep: int, side: float = 1.0) -> Floats:
        """Return ‖ε_c − ε_∅‖ at a timestep and latent size, (N,)."""
        return self.scans[side].table[f"noise_norm_{timestep}"].to_numpy()

    def norm_of_seeds(self, timestep: int, count: int) -> Floats:
        """Return the mean of the norm over the first seeds, (N,)."""
        by_seed = np.array(self.seeds.table[f"noise_norm_{timestep}_seeds"].to_pylist())
        return by_seed[:, :count].mean(1)


def measure(out: Path, name: str) -> None:
    """Scan with a model and compute the rest, unless that is done."""
    for side in SIDES:
        pixels = round(side * IMAGE_SIDE)
        _scan(out, name, _folder(side), signals=(*NORMS, *ATTENTION), height=pixels, width=pixels)
    norms = tuple(f"noise_norm@{timestep}" for timestep in SEEDED)
    _scan(out, name, SEEDS_RUN, signals=norms, seeds=SEEDS)
    extra = _extra_file(out, name)
    if not extra.exists():
        labeled = _labeled(out, name, _folder(1.0))
        captions = labeled.table["caption"].to_pylist()
        model = load_model(str(model_folder(out, name)))
        columns = _scaled_noise(model, captions) | _directions(
            model, model_folder(out, name), captions, labeled.memorized
        )
        pq.write_table(pa.table({"caption": captions, **columns}), extra)


def read(out: Path, name: str) -> ModelScores:
    """Read a model's measurements."""
    labels = pa.csv.read_csv(labels_file(out, name)).to_pylist()
    by_caption = {row["caption"]: row for row in labels}
    scans = {side: _labeled(out, name, _folder(side)) for side in SIDES}
    rows = [by_caption[caption] for caption in scans[1.0].table["caption"].to_pylist()]
    return ModelScores(
        name,
        scans,
        _labeled(out, name, SEEDS_RUN),
        pq.read_table(_extra_file(out, name)),
        _images(),
        [row["group"] for row in rows],
        [row["reproduced"] / row["tried"] for row in rows],
    )


def measured(out: Path) -> list[str]:
    """Return the models that are measured."""
    return [name for name in VARIANTS if _extra_file(out, name).exists()]


def _images() -> int:
    urls = [
        url
        for table in (files.TRAIN, files.HELDOUT)
        for url in pq.read_table(table, columns=["url"])["url"].to_pylist()
    ]
    return len(set(urls))


def _folder(side: float) -> str:
    return f"side-{side:g}"


def _runs(out: Path, name: str) -> Path:
    return out / name / "runs"


def _extra_file(out: Path, name: str) -> Path:
    return _runs(out, name) / "extra.parquet"


def _scan(out: Path, name: str, run: str, **options: Any) -> None:
    model = "testbed" if name == PACKAGED else str(model_folder(out, name))
    config = ScanConfig(
        captions=(str(files.TRAIN),),
        reference=(str(files.HELDOUT),),
        out=str(_runs(out, name) / run),
        model=model,
        **options,
    )
    with ScanProgress() as progress:
        scan(config, progress)


def _labeled(out: Path, name: str, run: str) -> LabeledCaptions:
    labels = Labels.from_table(pa.csv.read_csv(labels_file(out, name)))
    return match_labels(open_run(str(_runs(out, name) / run)), labels)


class _ScaledNoise(Forwards):
    """Forwards from the initial noise times ``scale``; zero gives an empty input."""

    scale = 1.0

    def initial_noise(self, seed: int) -> Tensor:
        return self.scale * super().initial_noise(seed)


def _scaled_noise(model: DiffusionModel, captions: list[str]) -> dict[str, Floats]:
    """Return the norm at the first and the low-noise step for other scales of the noise, (N,)."""
    scorer = Scorer(model, signals=(f"noise_norm@{FIRST}", f"noise_norm@{LOW}"))
    columns = {}
    for scale in SCALES:
        forwards = _ScaledNoise(model, scorer.latent_shape, scorer.steps, scorer.guidance)
        forwards.scale = scale
        for timestep in (FIRST, LOW):
            norms = [
                each.noise_norm
                for batch in _batches(captions)
                for each in [
                    observe(forwards, scorer.schedule, model.tokenize(batch), 1)[0].at(timestep)
                ]
            ]
            columns[f"noise_norm_{timestep}_scale_{scale:g}"] = torch.cat(norms).double().numpy()
    return columns


@torch.inference_mode()
def _directions(
    model: DiffusionModel, folder: Path, captions: list[str], memorized: Bools
) -> dict[str, Any]:
    """Compare the caption's effect −(ε_c − ε_∅) with the latents of every image of the data set.

    Per timestep: the cosine with the caption's own image (the best of its images; both without
    their mean over the captions or images), the share of the images whose cosine is smaller,
    whether the image with the largest is one of a memorized caption, and the norms of ε_c and ε_∅
    over the square root of the latent's size.
    """
    images_NCHW, own, groups = bank.bank_and_owners(files.DATA)
    latents_NF = training.encode(load_vae(find_model(str(folder))), images_NCHW).flatten(1)
    latents_NF = torch.nn.functional.normalize(latents_NF - latents_NF.mean(0), dim=1)
    number = {caption: n for n, caption in enumerate(groups["caption"].to_pylist())}
    of_memorized = [own[number[c]] for c, known in zip(captions, memorized, strict=True) if known]
    remembered = torch.tensor(sorted(set().union(*of_memorized)))
    forwards = Scorer(model, signals=("noise_norm_low",)).forwards
    columns: dict[str, Any] = {}
    for timestep in (FIRST, LOW):
        empty = forwards.empty(0, timestep)
        predicted = torch.cat(
            [
                forwards.on_noise(model.encode(model.tokenize(batch)), 0, timestep, None)[1]
                for batch in _batches(captions)
            ]
        )
        pulls_BF = (empty - predicted).flatten(1)
        pulls_BF = torch.nn.functional.normalize(pulls_BF - pulls_BF.mean(0), dim=1)
        cosine_BN = pulls_BF @ latents_NF.T
        best = torch.stack(
            [cosine_BN[b, list(own[number[c]])].max() for b, c in enumerate(captions)]
        )
        columns[f"own_cosine_{timestep}"] = best.double().numpy()
        columns[f"nearer_than_{timestep}"] = (
            (cosine_BN < best[:, None]).float().mean(1).double().numpy()
        )
        nearest_B = cosine_BN.argmax(1)
        columns[f"nearest_is_memorized_{timestep}"] = torch.isin(nearest_B, remembered).numpy()
        size = predicted[0].numel() ** 0.5
        zero = torch.zeros_like(empty)
        columns[f"conditional_{timestep}"] = noise_norm(predicted, zero).double().numpy() / size
        columns[f"unconditional_{timestep}"] = np.full(
            len(captions), noise_norm(empty, zero).item() / size
        )
    return columns


def _batches(captions: list[str]) -> list[list[str]]:
    return [captions[start : start + BATCH] for start in range(0, len(captions), BATCH)]
