"""The study's models: the packaged testbed, and variants of it that the study trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.development.train_testbed import TrainConfig, train_testbed
from scanner.errors import UserError
from scanner.testbed import files
from scanner.testbed.recipe import TestbedRecipe

PACKAGED = "testbed"
MODEL = "model"
LABELS = Path("data", "labels.csv")


@dataclass(frozen=True)
class Variant:
    """A model of the study. ``description``: what differs from the packaged testbed; ``recipe``:
    None if it is the packaged one; ``own_vae``: whether its VAE is trained too."""

    description: str
    recipe: TestbedRecipe | None = None
    own_vae: bool = False


def _recipe(seed: int, epochs: int = 8, **changes: object) -> TestbedRecipe:
    """Return a recipe of at most a little over half the packaged model's length."""
    return TestbedRecipe(seed=seed, salad_steps=400, epochs=epochs, **changes)  # type: ignore[arg-type]


VARIANTS = {
    PACKAGED: Variant("packaged with memscan; trained for 14 epochs"),
    "joint": Variant("another training seed; 8 epochs", _recipe(1)),
    "frozen": Variant(
        "text encoder trained first, on distinct captions, then frozen; 8 epochs",
        _recipe(2, text_encoder="frozen"),
    ),
    "latents": Variant(
        "its own VAE, with 8 latent channels instead of 4; trained least: 5 epochs",
        _recipe(3, epochs=5, latent_channels=8, vae_steps=1500),
        True,
    ),
}


def chosen(names: Sequence[str]) -> list[str]:
    """Return the names of models, all if none is given. Raises UserError."""
    for name in names:
        if name not in VARIANTS:
            raise UserError(f"--models {name}: one of {', '.join(VARIANTS)}")
    return list(names or VARIANTS)


def train(out: Path, name: str) -> None:
    """Train a model and measure what it reproduces, unless that is done."""
    variant = VARIANTS[name]
    if variant.recipe is not None and not labels_file(out, name).exists():
        vae = None if variant.own_vae else files.MODEL
        train_testbed(TrainConfig(out / name, vae=vae, recipe=variant.recipe))


def model_folder(out: Path, name: str) -> Path:
    return files.MODEL if name == PACKAGED else out / name / MODEL


def labels_file(out: Path, name: str) -> Path:
    return files.LABELS if name == PACKAGED else out / name / LABELS
