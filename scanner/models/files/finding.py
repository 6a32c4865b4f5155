"""Find a model by name, and check that it can be scored."""

import os
from dataclasses import replace
from pathlib import Path

from scanner.errors import UserError
from scanner.models.families.registry import refuse_configuration, refuse_pipeline
from scanner.models.files.fetching import fetch_configuration, fetch_weights
from scanner.models.files.lora import find_lora
from scanner.models.files.model_files import ModelFiles, read_index
from scanner.models.files.names import model_error
from scanner.models.files.opening import opening
from scanner.models.files.single_file import (
    find_single_file,
    is_single_file,
    refuse_other_prediction,
)
from scanner.models.files.weights import ENDING, refuse_missing
from scanner.models.fitting import refuse_misfit
from scanner.models.spec import ModelSpec

LORA = "pytorch_lora_weights.safetensors"


def find_model(model: str | ModelSpec, downloads_weights: bool = True) -> ModelFiles:
    """Bring a model's files to this machine and check them.

    ``model``: a spec, or the name in one. ``downloads_weights``: whether to download the weights of
    a model on the hub; if not, those that are absent are not checked. The spec of the result pins
    the revision. Raises UserError if a file cannot be fetched, is damaged or incomplete, or is of a
    class that is not supported; the message names the file or part and the remedy.
    """
    spec = ModelSpec(model) if isinstance(model, str) else model
    name = spec.name
    if is_single_file(name):
        checkpoint, folder = find_single_file(name, spec.config)
        with opening(name, str(folder)):
            pipeline = _pipeline(spec.config or name, folder)
            files = ModelFiles(replace(spec, revision=None), folder, pipeline, checkpoint)
            _refuse_damage(files, downloads_weights)
    else:
        if spec.config:
            raise UserError(f"--model-config is for single files; {name} has its own configuration")
        folder, pinned = fetch_configuration(name, spec.revision)
        if spec.revision is not None and pinned is None:
            raise UserError(f"--revision is for models on the hub; {name} is not one")
        with opening(name, str(folder)):
            files = ModelFiles(replace(spec, revision=pinned), folder, _pipeline(name, folder))
            _refuse_damage(files, downloads_weights)
    if not spec.lora:
        return files
    files.refuse_only_scanned("--lora")
    return replace(files, lora=find_lora(spec.lora))


def find_same_model(spec: ModelSpec, weights: str) -> ModelFiles:
    """Return the model's files on this node. Raises RuntimeError if their hash is not ``weights``,
    the one that the command started with."""
    files = find_model(spec)
    if files.weights_hash() != weights:
        raise RuntimeError(
            f"{spec.name} on {os.uname().nodename} has other weights than the command started with"
        )
    return files


def _refuse_damage(files: ModelFiles, downloads_weights: bool) -> None:
    """Raise UserError for a model that cannot be scored, whose parts do not fit each other, or
    whose weights are missing."""
    scheduler = files.config("scheduler")
    denoiser = files.config(files.family.denoiser_part)
    refuse_configuration(files.title, files.family, denoiser, scheduler)
    refuse_misfit(files)
    if files.checkpoint:
        kind = scheduler.get("prediction_type", "epsilon")
        refuse_other_prediction(files.name, files.checkpoint, kind)
        return
    if files.spec.revision and not downloads_weights and not files.has_weights:
        return
    # Last: the weights of a model that is refused can be large.
    fetch_weights(files.name, files.folder, files.spec.revision, files.parts)
    for part in files.parts:
        refuse_missing(files.name, files.folder / part, files.weight_files(part))


def _pipeline(name: str, folder: Path) -> str:
    """Return the class of a directory's pipeline, if it can be scored."""
    if not (folder / "model_index.json").exists():
        raise model_error(name, _what_else(folder))
    index = read_index(name, folder)
    refuse_pipeline(name, index)
    return str(index["_class_name"])


def _what_else(folder: Path) -> str:
    """Say what a directory without model_index.json is instead of a model, and the remedy."""
    lacking = "no diffusers model here (model_index.json is missing)"
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return f"{lacking}: the directory is empty; download the model again"
    inner = sorted(path.parent.name for path in folder.glob("*/model_index.json"))
    if inner:
        return f"{lacking}; one is in {inner[0]}/: name that directory"
    if LORA in names:
        return f"{lacking}; {LORA} is a LoRA: name its base model, and the LoRA by --lora"
    if "unet" in names or "unet_ema" in names:
        part = "unet" if "unet" in names else "unet_ema"
        return (
            f"{lacking}; a training's checkpoint holds only what was trained: copy the base model "
            f"and replace its unet/ by {part}/ of this directory"
        )
    if (folder.parent / "model_index.json").exists():
        return f"{lacking}; {folder.name}/ is a part of one: name the directory above"
    single = [one for one in names if one.endswith(ENDING)]
    if single and "config.json" not in names:
        return f"{lacking}; for a single-file checkpoint name the file: {single[0]}"
    return f"{lacking}; it has {', '.join(names[:3])}; name a directory in the diffusers layout"
