"""Find a model by its name, and check that it is one that can be scored."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scanner.errors import UserError
from scanner.models.diffusion_model import DiffusionModel
from scanner.models.families import FAMILIES, refuse_configuration, refuse_pipeline
from scanner.models.fetching import fetch_configuration, fetch_weights, weight_files
from scanner.models.lora import find_lora
from scanner.models.single_file import (
    find_single_file,
    is_single_file,
    refuse_other_prediction,
)


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine: where, which revision, and what its pipeline is.

    checkpoint: the single file with its weights; ``folder`` then has its configuration alone.
    lora: a LoRA to fuse into them, times ``lora_scale``.
    """

    name: str
    folder: Path
    revision: str | None
    pipeline: str
    checkpoint: Path | None = None
    lora: Path | None = None
    lora_scale: float = 1.0

    @property
    def family(self) -> type[DiffusionModel]:
        return FAMILIES[self.pipeline]

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part of the pipeline."""
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        return json.loads((self.folder / part / name).read_text(encoding="utf-8"))

    @property
    def settings(self) -> dict[str, Any]:
        """The entries of model_index.json that decide a score."""
        index = json.loads((self.folder / "model_index.json").read_text(encoding="utf-8"))
        return {name: index.get(name, own) for name, own in self.family.settings.items()}

    def weights_hash(self) -> str:
        """SHA-256 over everything that decides a score: weights, tokenizers, configurations."""
        digest = hashlib.sha256()
        for part in (*self.family.parts, *self.family.tokenizers, "scheduler"):
            folder = self.folder / part
            # Variants of the weights that lie beside those that are loaded do not count.
            weights = [] if self.checkpoint else weight_files(folder)
            texts = [path for path in folder.iterdir() if path.suffix in (".json", ".txt")]
            for path in sorted([*texts, *weights]):
                _digest(digest, f"{part}/{path.name}", path)
        for name, value in self.settings.items():
            digest.update(f"{name} {json.dumps(value)}\n".encode())
        if self.checkpoint:
            _digest(digest, "checkpoint", self.checkpoint)
        if self.lora:
            _digest(digest, f"lora {self.lora_scale!r}", self.lora)
        return digest.hexdigest()


def _digest(digest: Any, name: str, path: Path) -> None:
    digest.update(f"{name}\n".encode())
    with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())


def find_model(
    name: str,
    revision: str | None = None,
    *,
    model_config: str | None = None,
    lora: str | None = None,
    lora_scale: float = 1.0,
) -> ModelFiles:
    """Bring a model's files here and check them.

    ``name``: ``testbed``; a local directory, or a URL of one in a store; a hub id such as
    ``CompVis/stable-diffusion-v1-4``; a single .safetensors checkpoint, local or a URL, whose
    configuration is that of ``model_config`` (see :func:`find_single_file`). ``lora``: see
    :func:`find_lora`. Raises UserError where something cannot be had or is of a class that is not
    supported; the message lists those that are.
    """
    if is_single_file(name):
        checkpoint, folder = find_single_file(name, model_config)
        files = ModelFiles(name, folder, None, _pipeline(model_config or name, folder), checkpoint)
        kind = files.config("scheduler").get("prediction_type", "epsilon")
        refuse_other_prediction(name, checkpoint, kind)
    else:
        if model_config:
            raise UserError(f"--model-config is for single files; {name} has its own configuration")
        folder, pinned = fetch_configuration(name, revision)
        if revision is not None and pinned is None:
            raise UserError(f"--revision is for models on the hub; {name} is not one")
        revision = pinned
        files = ModelFiles(name, folder, revision, _pipeline(name, folder))
        # After the class is known: the weights of a model that is refused can be large.
        fetch_weights(name, folder, revision, files.family.parts)
        _refuse_other_formats(files)
    refuse_configuration(name, files.config("unet"), files.config("scheduler"))
    if lora:
        files = replace(files, lora=find_lora(lora), lora_scale=lora_scale)
    return files


def _pipeline(name: str, folder: Path) -> str:
    index = folder / "model_index.json"
    if not index.exists():
        raise UserError(f"{name}: no diffusers model here (model_index.json is missing)")
    contents = json.loads(index.read_text(encoding="utf-8"))
    refuse_pipeline(name, contents)
    return contents["_class_name"]


def _refuse_other_formats(files: ModelFiles) -> None:
    for part in files.family.parts:
        if not weight_files(files.folder / part):
            raise UserError(
                f"{files.name}: no safetensors weights in {part}/ (an fp16 variant is not looked "
                "for); weights in other formats are not loaded, since they can run code; convert "
                "them with diffusers' save_pretrained(safe_serialization=True)"
            )
