"""A model's files on this machine, and the hash of what is loaded from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from scanner.models.diffusion_model import DiffusionModel
from scanner.models.families.registry import FAMILIES, is_named
from scanner.models.files.hash_cache import MARKER_BYTES, remembered_hash
from scanner.models.files.hashing import ModelHash
from scanner.models.files.names import model_error
from scanner.models.files.opening import opening, read_json
from scanner.models.files.single_file import is_scored
from scanner.models.files.weights import expected_files
from scanner.models.layers import refuse_only_scanned
from scanner.models.noise_process import NoiseProcess
from scanner.models.spec import ModelSpec
from scanner.models.tokenizers import open_tokenizer, tokenization_rules

BUFFERS = ("position_ids",)  # in old text encoders; now computed


@dataclass(frozen=True)
class ModelFiles:
    """A model's files on this machine.

    spec: with the revision pinned. folder: its directory. pipeline: its pipeline class.
    checkpoint: a single file with all weights, if any; ``folder`` then holds only the
    configuration. lora: the file of a LoRA to fuse into the weights, if any.
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
        """The model's name, with the location of its configuration if that is elsewhere."""
        return f"{self.name} with the configuration {self.folder}" if self.checkpoint else self.name

    def refuse_only_scanned(self, what: str) -> None:
        """Raise UserError for a family that is scored, but that ``what`` does not support yet."""
        refuse_only_scanned(self.family.parts[self.family.denoiser_part], what)

    def config(self, part: str) -> dict[str, Any]:
        """Return the configuration of a part of the pipeline. Raises UserError without one."""
        file = "scheduler_config.json" if part == "scheduler" else "config.json"
        folder = self.folder / part
        if not folder.is_dir():
            raise model_error(self.title, self._absent(part))
        return read_json(self.title, folder / file, f"{part}/{file}")

    @property
    def parts(self) -> dict[str, type[Any]]:
        """Classes by name of the parts that scoring loads: without optional ones that it lacks."""
        index = read_index(self.title, self.folder)
        return {
            name: kind
            for name, kind in self.family.parts.items()
            if name not in self.family.optional or is_named(index, name)
        }

    @property
    def tokenizers(self) -> dict[str, str]:
        """Names of the tokenizers, each with the text encoder that reads its tokens."""
        encoders = self.parts
        return {name: to for name, to in self.family.tokenizers.items() if to in encoders}

    @cached_property
    def opened_tokenizers(self) -> dict[str, PreTrainedTokenizerFast]:
        """The tokenizers by name: checks, the hash and the model read the same ones, since parsing
        a vocabulary takes as long as loading a small model. Raises UserError as
        :func:`~scanner.models.tokenizers.open_tokenizer`."""
        parts = self.parts
        return {
            name: open_tokenizer(self.title, self.folder / name, parts[encoder])
            for name, encoder in self.tokenizers.items()
        }

    @property
    def noise_process(self) -> NoiseProcess:
        """The noise process. Raises UserError for an invalid scheduler configuration."""
        with opening(self.title, "scheduler/scheduler_config.json"):
            return self.family.noise_process_of(
                self.config("scheduler"), self.config(self.family.denoiser_part)
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Entries of model_index.json that affect scores."""
        index = read_index(self.title, self.folder)
        return {name: index.get(name, own) for name, own in self.family.settings.items()}

    @property
    def pixels_per_latent(self) -> int:
        """Image pixels per latent pixel along one side."""
        config = self.config("vae")
        with opening(self.title, "vae/config.json"):
            if "temperal_downsample" in config:  # as diffusers spells it
                return int(2 ** len(config["temperal_downsample"]))
            names = ("block_out_channels", "encoder_block_out_channels")
            widths = next((config[name] for name in names if name in config), None)
            if widths is None:
                raise KeyError("block_out_channels")
            return int(2 ** (len(widths) - 1))

    def weight_files(self, part: str) -> list[Path]:
        """Return the files with a part's weights."""
        return expected_files(self.name, self.folder / part, self.parts[part])

    @property
    def has_weights(self) -> bool:
        """Whether the weights are on this machine."""
        return all(path.exists() for _, files in self._weights() for path in files)

    def weights_hash(self, marker_bytes: int = MARKER_BYTES) -> str:
        """Return the SHA-256 of everything that affects scores, independent of how it is stored.

        Covers stored weights, tokenizers, configurations, noise levels, and the LoRA with its
        scale; not the sharding, nor files that are not loaded. Weights of ``marker_bytes`` or more
        are read once per node, see :func:`~scanner.models.files.hash_cache.remembered_hash`.
        """
        digest = self._settings_hash()
        files = [path for _, files in self._weights() for path in files]
        scale = self.spec.lora_scale if self.lora else None
        settings = f"{digest.hexdigest()} {scale} {self.checkpoint is not None}"
        with opening(self.name, "weights"):
            return remembered_hash(
                settings,
                [*files, *([self.lora] if self.lora else [])],
                lambda: self._with_weights(digest),
                marker_bytes,
            )

    def _settings_hash(self) -> ModelHash:
        """Return a hash of all that affects scores but the weights."""
        digest = ModelHash()
        digest.add_settings("pipeline", [self.pipeline, self.settings, self.pixels_per_latent])
        for part in self.parts:
            digest.add_config(part, self.config(part))
        for part, tokenizer in self.opened_tokenizers.items():
            digest.add_settings(part, tokenization_rules(tokenizer))
        digest.add_settings("scheduler", self.noise_process.settings)
        return digest

    def _with_weights(self, digest: ModelHash) -> str:
        """Return the hash after the weights and the LoRA are added."""
        for name, files in self._weights():
            with opening(self.name, name):
                digest.add_tensors(name, files, is_scored if self.checkpoint else _is_loaded)
        if self.lora:
            with opening(self.name, f"--lora {self.lora}"):
                digest.add_lora(self.lora, self.spec.lora_scale)
        return digest.hexdigest()

    def _weights(self) -> Iterator[tuple[str, list[Path]]]:
        if self.checkpoint:
            yield "checkpoint", [self.checkpoint]
        else:
            for part in self.parts:
                yield part, self.weight_files(part)

    def _absent(self, part: str) -> str:
        alike = sorted(path.name for path in self.folder.glob(f"{part}*") if path.is_dir())
        hint = f" (found {', '.join(alike)}: rename it if it is the one to scan)"
        return f"{part}/: missing; download or save the model again{hint if alike else ''}"


def read_index(name: str, folder: Path) -> dict[str, Any]:
    """Return the contents of model_index.json."""
    return read_json(name, folder / "model_index.json", "model_index.json")


def _is_loaded(key: str) -> bool:
    return key != "__metadata__" and not key.endswith(BUFFERS)
