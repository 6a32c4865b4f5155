"""Load single-file checkpoints, with the configuration of a diffusers model.

A single file contains weights under the names of the original code bases. The architecture, the
tokenizer and the noise levels come from a separate configuration: the directory of a diffusers
model of the same architecture. diffusers infers the kind of model from the keys, selects a hub
model whose configuration matches, and converts the keys.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import (
    DIFFUSERS_DEFAULT_PIPELINE_PATHS,
    infer_diffusers_model_type,
)
from torch import Tensor
from transformers import PreTrainedModel

from scanner.errors import UserError
from scanner.models.families.registry import refuse_distilled, supported
from scanner.models.files.fetching import fetch_configuration, local_copy
from scanner.models.files.names import ENDINGS, check_name, model_error
from scanner.models.files.opening import opening
from scanner.models.files.weights import outline
from scanner.models.parts import ATTENTION, missing_weights, quiet, refuse_incomplete
from scanner.storage import local_path

KINDS = ("v1", "v2", "xl_base")
UNET = "model.diffusion_model."
TEXT = ("cond_stage_model.", "conditioner.embedders.")
VAE = "first_stage_model."
ENCODERS = {
    "cond_stage_model.transformer.": "text_encoder",
    "cond_stage_model.model.": "text_encoder",
    "conditioner.embedders.0.transformer.": "text_encoder",
    "conditioner.embedders.1.model.": "text_encoder_2",
}
BLOCKS = ".resblocks."


def is_single_file(name: str) -> bool:
    """Return whether a model's name is that of a single file."""
    return name.lower().endswith(ENDINGS) and not local_path(name).is_dir()


def is_scored(key: str) -> bool:
    """Return whether a checkpoint's weight belongs to its U-Net or text encoders."""
    return key.startswith((UNET, *TEXT)) and not key.endswith("position_ids")


def find_single_file(name: str, model_config: str | None) -> tuple[Path, Path]:
    """Return the checkpoint's path and the directory of its configuration.

    ``name``: a local path or URL; ``model_config``: a diffusers model of the same architecture (a
    directory, URL or hub id) instead of the default for this kind. Raises UserError if the file is
    not a checkpoint of a supported kind.
    """
    check_name(name)
    path = local_copy(name)
    assert path is not None, "checked: a URL or an existing file"
    kind = _kind(name, outline(name, path))
    own = DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"]
    try:
        folder, _ = fetch_configuration(model_config or own)
    except UserError as error:
        raise model_error(
            name,
            f"a single file has no configuration, and that of {model_config or own} is "
            f"unavailable ({error}); pass a diffusers model of the same architecture as "
            "--model-config: a directory (its weights are not needed), a URL or a hub id",
        ) from error
    return path, folder


def _kind(name: str, weights: dict[str, Tensor]) -> str:
    """Return diffusers' name for the kind of model in a file."""
    if any(key.endswith("time_embed.cond_proj.weight") for key in weights):
        refuse_distilled(name, "its U-Net takes the guidance scale as an input")
    kind = infer_diffusers_model_type(weights)
    if kind not in KINDS:
        raise model_error(name, f"a checkpoint of kind {kind} cannot be scanned; {supported()}")
    # diffusers classifies unknown files as v1.
    if not any(key.startswith(UNET) for key in weights) or not any(
        key.startswith(TEXT) for key in weights
    ):
        some = ", ".join(sorted(weights)[:3])
        raise model_error(
            name,
            f"not a complete Stable Diffusion checkpoint: it has no weights named {UNET}* (the "
            f"U-Net) or {'* or '.join(TEXT)}* (the text encoders), but {some} …; strip a prefix "
            "that a trainer has added, pass a LoRA as --lora, or for a part of a diffusers model "
            "the directory above it",
        )
    return kind


def refuse_other_prediction(name: str, path: Path, prediction_type: str) -> None:
    """Raise UserError if a file is marked as v-prediction but its configuration is not.

    The mark, a tensor named v_pred, is a convention of fine-tuned SDXL models.
    """
    if "v_pred" in outline(name, path) and prediction_type != "v_prediction":
        raise model_error(
            name,
            "the file is marked as v-prediction, but its configuration says "
            f"{prediction_type}; pass one with prediction_type v_prediction as --model-config",
        )


def load_single_file(
    name: str, path: Path, folder: Path, pipeline: str, parts: tuple[str, ...], dtype: torch.dtype
) -> dict[str, Any]:
    """Load the parts of a pipeline from a checkpoint and its configuration's directory.

    Raises UserError if the two do not match, or weights are missing.
    """
    unused = ("vae", "safety_checker", "feature_extractor", "image_encoder")
    options = {"config": str(folder), "dtype": dtype, "local_files_only": True}
    with opening(name, path.name, _remedy(folder)), quiet():
        kind = getattr(diffusers, pipeline)
        loaded = kind.from_single_file(str(path), **options, **dict.fromkeys(unused))
    keys = [key for key in outline(name, path) if is_scored(key)]
    found = {part: getattr(loaded, part) for part in parts}
    for part, module in found.items():
        if isinstance(module, PreTrainedModel):
            module.set_attn_implementation(ATTENTION)
        refuse_incomplete(name, f"{path.name}, {part}", missing_weights(module), ())
    _refuse_unread(name, folder, "unet", found["unet"], keys, UNET)
    for prefix, part in ENCODERS.items():
        if any(key.startswith(prefix) for key in keys):
            _refuse_unread(name, folder, part, found[part], keys, prefix)
    return found


def load_vae_of_single_file(name: str, path: Path, folder: Path) -> AutoencoderKL:
    """Load a checkpoint's VAE in float32.

    Raises UserError if it is incomplete or does not match its configuration."""
    options = {"config": str(folder), "dtype": torch.float32, "local_files_only": True}
    with opening(name, path.name, _remedy(folder)), quiet():
        vae = AutoencoderKL.from_single_file(str(path), subfolder="vae", **options)
    refuse_incomplete(name, f"{path.name}, vae", missing_weights(vae), ())
    return vae


def _refuse_unread(
    name: str, folder: Path, part: str, module: torch.nn.Module, keys: list[str], prefix: str
) -> None:
    """Raise UserError for weights in the file that diffusers ignored."""
    own = [key for key in keys if key.startswith(prefix)]
    layers = {key.split(BLOCKS)[1].split(".")[0] for key in own if BLOCKS in key}
    stored, loaded, unit = len(own), len(module.state_dict()), "weights"
    if layers:  # OpenCLIP, which fuses weights
        stored, loaded, unit = len(layers), module.config.num_hidden_layers, "layers"
        # Stable Diffusion 2 uses the penultimate layer and is saved without the last.
        loaded += part == "text_encoder" and stored == loaded + 1
    if stored != loaded:
        raise model_error(
            name,
            f"the file has {stored} {unit} of {part}, the configuration {loaded}; "
            f"{_remedy(folder)}",
        )


def _remedy(folder: Path) -> str:
    return (
        f"it does not match the configuration in {folder}, or is damaged: pass a diffusers model "
        "of the same architecture as --model-config"
    )
