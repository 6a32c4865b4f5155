"""Single-file checkpoints: what they hold, whose configuration they take, loading them.

A single file holds weights under the names of the original code bases; which layers they make,
the tokenizer and the noise levels are in a configuration beside it: the directory of a diffusers
model of the same architecture. diffusers tells the kind of model by its keys, names a model on
the hub whose configuration fits, and converts the keys.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import (
    DIFFUSERS_DEFAULT_PIPELINE_PATHS,
    infer_diffusers_model_type,
)
from torch import Tensor

from scanner.errors import UserError
from scanner.models.families import refuse_distilled, supported
from scanner.models.fetching import fetch_configuration, local_copy
from scanner.models.weights_file import outline

ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
KINDS = ("v1", "v2", "xl_base")
UNET = "model.diffusion_model."
TEXT = ("cond_stage_model.", "conditioner.embedders.")


def is_single_file(name: str) -> bool:
    """Whether a model's name is that of one file."""
    return name.lower().endswith(ENDINGS)


def find_single_file(name: str, model_config: str | None) -> tuple[Path, Path]:
    """The checkpoint's path and the directory of its configuration.

    ``name``: a local path or URL; ``model_config``: a diffusers model of the same architecture (a
    directory, URL or hub id) instead of the one that diffusers takes for this kind. Raises
    UserError for what is no checkpoint of a supported kind.
    """
    path = local_copy(name)
    if path is None:
        raise UserError(f"{name}: no such file")
    kind = _kind(name, outline(name, path))
    own = DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"]
    try:
        folder, _ = fetch_configuration(model_config or own)
    except UserError as error:
        raise UserError(
            f"{name}: a single file holds no configuration, and that of "
            f"{model_config or own} cannot be had ({error}); name a diffusers model of the same "
            "architecture by --model-config: a directory (its weights are not needed), a URL or "
            "a hub id"
        ) from error
    return path, folder


def _kind(name: str, weights: dict[str, Tensor]) -> str:
    """diffusers' name for the kind of model in a file."""
    if any(key.endswith("time_embed.cond_proj.weight") for key in weights):
        refuse_distilled(name, "its U-Net takes the guidance as an input")
    kind = infer_diffusers_model_type(weights)
    if kind not in KINDS:
        raise UserError(f"{name}: a checkpoint of kind {kind} cannot be scanned; {supported()}")
    # diffusers calls v1 whatever it does not know.
    if not any(key.startswith(UNET) for key in weights) or not any(
        key.startswith(TEXT) for key in weights
    ):
        raise UserError(
            f"{name}: no whole Stable Diffusion checkpoint: it has no weights of "
            f"{UNET}* (the U-Net) or of {'* or '.join(TEXT)}* (the text encoders); give a LoRA by "
            "--lora, a part of a diffusers model by the directory above it"
        )
    return kind


def refuse_other_prediction(name: str, path: Path, prediction_type: str) -> None:
    """Raises UserError where a file marks itself as v-prediction, and its configuration does not.

    The mark, a tensor named v_pred, is a convention of fine-tuned SDXL models.
    """
    if "v_pred" in outline(name, path) and prediction_type != "v_prediction":
        raise UserError(
            f"{name}: the file marks itself as v-prediction, its configuration says "
            f"{prediction_type}; name one with prediction_type v_prediction by --model-config"
        )


def load_single_file(
    path: Path, folder: Path, pipeline: str, parts: tuple[str, ...], dtype: torch.dtype
) -> dict[str, Any]:
    """The parts of a pipeline from a checkpoint and the directory of its configuration.

    Raises UserError where the two do not fit one another.
    """
    unused = ("vae", "safety_checker", "feature_extractor", "image_encoder")
    try:
        loaded = getattr(diffusers, pipeline).from_single_file(
            str(path),
            config=str(folder),
            dtype=dtype,
            local_files_only=True,
            **dict.fromkeys(unused),
        )
    except Exception as error:  # whatever a wrong shape or a missing key leads to
        raise _misfit(path, folder, str(error).splitlines()[0] if str(error) else "") from error
    found = {name: getattr(loaded, name) for name in parts}
    for name, part in found.items():
        missing = [key for key, value in part.named_parameters() if value.is_meta]
        if missing:
            raise _misfit(path, folder, f"it has no weights for {name}.{missing[0]}")
    there = sum(key.startswith(UNET) for key in outline(str(path), path))
    taken = len(found["unet"].state_dict())
    if there != taken:
        raise _misfit(path, folder, f"it has {there} U-Net weights, the configuration {taken}")
    return found


def _misfit(path: Path, folder: Path, why: str) -> UserError:
    return UserError(
        f"{path}: does not fit the configuration in {folder}: {why}; name a diffusers model of "
        "the same architecture by --model-config"
    )
