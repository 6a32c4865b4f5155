"""Attack captions under a mitigation or after fine-tuning, and measure what is reproduced."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from jobs.studies.mitigation.evaluator import StudyCaption
from jobs.studies.mitigation_methods.conditions import NONE, MethodCondition
from scanner.evidence.verify.drawing import Recipe, draw
from scanner.evidence.verify.measures import as_image, likeness
from scanner.mitigation import mitigate
from scanner.mitigation.adversary.options import AdversaryOptions
from scanner.mitigation.adversary.perturbation import perturbed
from scanner.mitigation.adversary.search import Adversary, Attack
from scanner.mitigation.finetune import finetune
from scanner.mitigation.training_images import TrainingImages
from scanner.mitigation.training_options import TrainingOptions
from scanner.models import find_model
from scanner.models.encoding import load_encoder
from scanner.models.pipeline import load_pipeline, model_of
from scanner.run.verdicts import OWN_CAPTION
from scanner.testbed import labels
from scanner.testbed.bank import bank_and_owners
from scanner.testbed.files import DATA, TRAIN
from scanner.testbed.reproduction import GUIDANCE, STEPS, distances, is_copy, reconstruct

BATCH = 48
TUNING_BATCH = 32
TUNING_RATE = 5e-4
TUNED = MethodCondition("tuned")
"""No mitigation, after training on without the samples of memorized captions."""


@dataclass(frozen=True)
class Attacked:
    """A condition and how captions are attacked. ``tuning_steps``: of training on, for TUNED."""

    condition: MethodCondition
    options: AdversaryOptions
    seeds: int
    tuning_steps: int = 0


class Laboratory:
    """A testbed's pipeline, its images, and their reconstructions (N, F) by the VAE."""

    def __init__(self, testbed: str) -> None:
        files = find_model(testbed)
        self.testbed = testbed
        self.pipe = load_pipeline(files, "float32", "cpu")
        self.model = model_of(files, self.pipe, "")
        self.encode = load_encoder(files, "cpu")
        self.bank_NCHW, own, groups = bank_and_owners(DATA)
        self.bank_NF = reconstruct(self.pipe, self.bank_NCHW).flatten(1)
        self.own = dict(zip(groups["caption"].to_pylist(), own, strict=True))

    @contextmanager
    def tuned(self, steps: int) -> Iterator[None]:
        """Train the denoiser within this context on the training set without memorized captions."""
        denoiser = self.model.denoiser
        before = {name: value.clone() for name, value in denoiser.state_dict().items()}
        memorized = {row["caption"] for row in labels(self.testbed).to_pylist() if row["memorized"]}
        rows = pq.read_table(TRAIN, columns=["key", "caption", "image"]).to_pylist()
        kept = [
            (row["key"], row["caption"], row["image"])
            for row in rows
            if row["caption"] not in memorized
        ]
        options = TrainingOptions(steps, batch=TUNING_BATCH, rate=TUNING_RATE)
        finetune(self.model, self.pipe.vae, TrainingImages.from_rows(kept), options)
        try:
            yield
        finally:
            denoiser.load_state_dict(before)


@functools.cache
def shared_laboratory(testbed: str) -> Laboratory:
    """Return this process's laboratory, created on the first call."""
    torch.set_num_threads(1)
    return Laboratory(testbed)


def attack(testbed: str, attacked: Attacked, sample: Sequence[StudyCaption]) -> pa.Table:
    """Return one row per caption and start: the caption itself, and each attack."""
    laboratory = shared_laboratory(testbed)
    steps = attacked.tuning_steps if attacked.condition == TUNED else 0
    with laboratory.tuned(steps) if steps else nullcontext():
        return _attack(laboratory, attacked, sample)


def _attack(laboratory: Laboratory, attacked: Attacked, sample: Sequence[StudyCaption]) -> pa.Table:
    captions = [caption.caption for caption in sample]
    generate = _generate(laboratory, attacked.condition)
    images = [min(laboratory.own[caption]) for caption in captions]
    adversary = Adversary(
        laboratory.model,
        laboratory.pipe,
        generate,
        laboratory.encode,
        attacked.options,
        GUIDANCE,
        BATCH,
    )
    found = adversary.search(captions, laboratory.bank_NCHW[images])
    unmoved_LC = torch.zeros_like(laboratory.model.encode_empty().hidden_BLC[0])
    starts = [
        (number, Attack(OWN_CAPTION, caption, unmoved_LC, 0.0, 1.0))
        for number, caption in enumerate(captions)
    ]
    starts += found
    rows: list[dict[str, Any]] = []
    for begin in range(0, len(starts), BATCH // attacked.seeds):
        part = starts[begin : begin + BATCH // attacked.seeds]
        images_NKCHW = _draw(laboratory, generate, [start for _, start in part], attacked.seeds)
        for (number, start), images_KCHW in zip(part, images_NKCHW, strict=True):
            rows.append(
                {
                    "condition": attacked.condition.name,
                    "radius": attacked.options.radius,
                    **vars(sample[number]),
                    "kind": start.kind,
                    "text": start.caption,
                    "distance": start.distance,
                    "error": start.error,
                    **_judge(laboratory, captions[number], images_KCHW),
                }
            )
    return pa.Table.from_pylist(rows)


def _generate(laboratory: Laboratory, condition: MethodCondition) -> Any:
    if condition in (NONE, TUNED):
        return laboratory.pipe

    def generate(*args: Any, **kwargs: Any) -> Any:
        with mitigate(laboratory.pipe, **condition.options):
            return laboratory.pipe(*args, **kwargs)

    return generate


class _Generating:
    """A pipeline whose calls are those of ``generate``."""

    def __init__(self, pipe: Any, generate: Any) -> None:
        self.pipe, self.generate = pipe, generate

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.generate(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipe, name)


def _draw(laboratory: Laboratory, generate: Any, starts: Sequence[Attack], seeds: int) -> Tensor:
    """Return images (N, K, 3, H, W) in [0, 1]."""
    spec = find_model(laboratory.testbed).spec
    recipe = Recipe(spec, "", seeds, STEPS, GUIDANCE, None, None)
    wanted = [(start.caption, seed) for start in starts for seed in range(seeds)]
    offset_NLC = torch.stack([start.offset_LC for start in starts for _ in range(seeds)])
    with perturbed(laboratory.pipe, offset_NLC):
        images, _ = draw(_Generating(laboratory.pipe, generate), wanted, recipe)
    return images.unflatten(0, (-1, seeds))


def _judge(laboratory: Laboratory, caption: str, images_KCHW: Tensor) -> dict[str, float]:
    """Return the likeness as ``memscan verify`` measures it, and the share of images that are
    copies by the testbed's rule."""
    own = laboratory.own[caption]
    references = [as_image(laboratory.bank_NCHW[number] / 2 + 0.5) for number in sorted(own)]
    near = likeness(images_KCHW, references, torch.ones(8, 8, dtype=torch.bool))
    rows = distances(images_KCHW, laboratory.bank_NF)
    copied = [is_copy(row, own) for row in rows]
    return {"likeness": near.whole, "copied": sum(copied) / len(copied)}
