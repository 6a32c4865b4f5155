"""Load a model for scoring, from safetensors only."""

import inspect
from typing import Any

import diffusers
import torch
from transformers import CLIPTokenizer

from scanner.errors import UserError
from scanner.models.diffusion_model import DiffusionModel, score_scheduler
from scanner.models.fetching import configuration_here
from scanner.models.finding import find_model
from scanner.models.lora import fuse_lora
from scanner.models.model_files import ModelFiles
from scanner.models.parts import load_part
from scanner.models.single_file import load_single_file
from scanner.models.threads import limit_threads
from scanner.models.tokenizers import open_tokenizer

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def load_tokenizer(files: ModelFiles, name: str = "tokenizer") -> CLIPTokenizer:
    """A tokenizer alone; the first is what planning needs."""
    return open_tokenizer(files.title, files.folder / name)


def tokenizer_of(name: str, revision: str | None, model_config: str | None) -> CLIPTokenizer:
    """A run's model's first tokenizer, if it is on this machine: nothing is fetched.

    Raises UserError where it is not here.
    """
    folder = configuration_here(model_config or name, None if model_config else revision)
    return open_tokenizer(model_config or name, folder / "tokenizer")


def load_model(
    name: str | ModelFiles,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    weights: str | None = None,
    *,
    model_config: str | None = None,
    lora: str | None = None,
    lora_scale: float = 1.0,
) -> DiffusionModel:
    """Load a model for scoring, its LoRA fused.

    ``name``, ``revision``, ``model_config``, ``lora``, ``lora_scale``: as :func:`find_model` takes
    them, or what it found. ``device``: ``cuda`` where there is one by default, else ``cpu``;
    ``dtype``: float16 on cuda and float32 on cpu by default. ``weights``: the hash of the files,
    if it is known already.

    >>> from scanner import load_model
    >>> model = load_model("testbed", device="cpu")
    >>> model.family, str(model.dtype)
    ('stable-diffusion', 'torch.float32')
    """
    if isinstance(name, str):
        files = find_model(
            name, revision, model_config=model_config, lora=lora, lora_scale=lora_scale
        )
    else:
        files = name
    device = choose_device(device)
    return files.family(
        **components_of(files, choose_dtype(dtype, device), device),
        **files.settings,
        weights=weights or files.weights_hash(),
        pixels_per_latent=files.pixels_per_latent,
    )


def components_of(files: ModelFiles, dtype: str, device: str) -> dict[str, Any]:
    """What scoring needs of a pipeline, by name: parts (the LoRA fused), tokenizers, scheduler."""
    limit_threads()
    components = {
        **{name: part.to(device) for name, part in _load_parts(files, DTYPES[dtype]).items()},
        **{name: load_tokenizer(files, name) for name in files.family.tokenizers},
        "scheduler": score_scheduler(files.config("scheduler")),
    }
    if files.lora:
        pipe = build_pipeline(files.pipeline, {**components, "vae": None})
        fuse_lora(files.lora, files.lora_scale, pipe, tuple(files.family.parts))
    return components


def build_pipeline(name: str, components: dict[str, Any]) -> Any:
    """A diffusers pipeline without a safety checker, which would hide what is looked for."""
    kind = getattr(diffusers, name)
    accepted = inspect.signature(kind).parameters
    absent = {name: value for name, value in NO_CHECKER.items() if name in accepted}
    return kind(**components, **absent)


def _load_parts(files: ModelFiles, dtype: torch.dtype) -> dict[str, Any]:
    """The parts of a pipeline that scoring needs, on the CPU."""
    parts = files.family.parts
    if files.checkpoint:
        return load_single_file(
            files.name, files.checkpoint, files.folder, files.pipeline, tuple(parts), dtype
        )
    return {
        name: load_part(files.name, files.folder / name, kind, dtype)
        for name, kind in parts.items()
    }


def choose_device(device: str) -> str:
    """``auto`` means the first accelerator, or the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def choose_dtype(dtype: str, device: str) -> str:
    """``auto`` means float16 on an accelerator and float32 on the CPU."""
    if dtype == "auto":
        return "float32" if device == "cpu" else "float16"
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: one of {', '.join(DTYPES)}")
    return dtype
