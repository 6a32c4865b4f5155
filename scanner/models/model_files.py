"""A model on this machine: where its files are, and the hash of what is loaded from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.models.diffusion_model import NOISE_LEVELS, DiffusionModel, score_scheduler
from scanner.models.families import FAMILIES
from scanner.models.hashing import ModelHash
from scanner.models.opening import model_error, opening, read_json
from scanner.models.single_file import is_scored
from scanner.models.spec import ModelSpec
from scanner.models.tokenizers import open_tokenizer, what_decides
from scanner.models.weights import expected_files

BUFFERS = ("position_ids",)  # of old text encoders; computed now


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine.

    spec: with the revision pinned. folder: its directory. pipeline: the class of its pipeline.
    checkpoint: the single file with its weights, if any; ``folder`` then has the configuration
    only. lora: the file of the LoRA to fuse, if any.
    """

    spec: ModelSpec
    folder: Path
    pipeline: str
    checkpoint: Path | None = None
    lora: Path | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def family(self) -> type[DiffusionModel]:
        return FAMILIES[self.pipeline]

    @property
    def title(self) -> str:
        """The model's name, with where its configuration is if that is elsewhere."""
        return f"{self.name} with the configuration {self.folder}" if self.checkpoint else self.name

    def config(self, part: str) -> dict[str, Any]:
        """Return the configuration of a part of the pipeline. Raises UserError without one."""
        file = "scheduler_config.json" if part == "scheduler" else "config.json"
        folder = self.folder / part
        if not folder.is_dir():
            raise model_error(self.title, self._absent(part))
        return read_json(self.title, folder / file, f"{part}/{file}")

    @property
    def settings(self) -> dict[str, Any]:
        """The entries of model_index.json that decide a score."""
        index = read_index(self.title, self.folder)
        return {name: index.get(name, own) for name, own in self.family.settings.items()}

    @property
    def pixels_per_latent(self) -> int:
        """Pixels of a picture along one side of a latent."""
        with opening(self.title, "vae/config.json"):
            return 2 ** (len(self.config("vae")["block_out_channels"]) - 1)

    def weight_files(self, part: str) -> list[Path]:
        """Return the files with a part's weights."""
        return expected_files(self.name, self.folder / part, self.family.parts[part])

    def weights_hash(self) -> str:
        """Return the SHA-256 of everything that decides a score, however it is stored.

        Weights as they are stored, tokenizers, configurations, noise levels, and the LoRA with its
        scale; not how the weights are sharded, nor the files beside those that are loaded.
        """
        found = ModelHash()
        found.add_settings("pipeline", [self.pipeline, self.settings, self.pixels_per_latent])
        for part in self.family.parts:
            found.add_config(part, self.config(part))
        for part in self.family.tokenizers:
            found.add_settings(part, what_decides(open_tokenizer(self.title, self.folder / part)))
        with opening(self.title, "scheduler/scheduler_config.json"):
            levels = score_scheduler(self.config("scheduler")).config
            found.add_settings("scheduler", {name: levels[name] for name in NOISE_LEVELS})
        for name, files in self._weights():
            with opening(self.name, name):
                found.add_tensors(name, files, is_scored if self.checkpoint else _is_loaded)
        if self.lora:
            with opening(self.name, f"--lora {self.lora}"):
                found.add_lora(self.lora, self.spec.lora_scale)
        return found.hexdigest()

    def _weights(self) -> Iterator[tuple[str, list[Path]]]:
        if self.checkpoint:
            yield "checkpoint", [self.checkpoint]
        else:
            for part in self.family.parts:
                yield part, self.weight_files(part)

    def _absent(self, part: str) -> str:
        alike = sorted(path.name for path in self.folder.glob(f"{part}*") if path.is_dir())
        there = f" ({', '.join(alike)} is there: rename it if it is the one to scan)"
        return f"{part}/: missing; download or save the model again{there if alike else ''}"


def read_index(name: str, folder: Path) -> dict[str, Any]:
    """Return the contents of model_index.json."""
    return read_json(name, folder / "model_index.json", "model_index.json")


def _is_loaded(key: str) -> bool:
    return key != "__metadata__" and not key.endswith(BUFFERS)
