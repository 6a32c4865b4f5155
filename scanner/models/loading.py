"""Load a model for scoring, from safetensors only."""

import inspect
from typing import Any

import diffusers
import torch
from transformers import PreTrainedTokenizerFast

from scanner.errors import UserError
from scanner.models.device.threads import limit_threads
from scanner.models.diffusion_model import DiffusionModel
from scanner.models.families.registry import FAMILIES
from scanner.models.files.fetching import configuration_here
from scanner.models.files.finding import find_model
from scanner.models.files.lora import fuse_lora
from scanner.models.files.model_files import ModelFiles, read_index
from scanner.models.files.single_file import load_single_file
from scanner.models.files.weights import stored_dtype
from scanner.models.layers import refuse_only_scanned
from scanner.models.parts import load_on_meta, load_part
from scanner.models.spec import ModelSpec
from scanner.models.tokenizers import open_tokenizer
from scanner.models.tokens import is_clip

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
META = "meta"
"""The device on which tensors have shapes but no data."""
NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def load_tokenizer(files: ModelFiles, name: str = "tokenizer") -> PreTrainedTokenizerFast:
    """Return one of a model's tokenizers; planning needs only the first."""
    return files.opened_tokenizers[name]


def canonical_tokenizer(files: ModelFiles) -> PreTrainedTokenizerFast | None:
    """Load the tokenizer whose normalization makes captions alike; None as in
    :func:`~scanner.models.canonical`."""
    encoders = files.parts
    is_alike = is_clip(encoders[encoder] for encoder in files.tokenizers.values())
    return load_tokenizer(files) if is_alike else None


def local_tokenizer(spec: ModelSpec) -> PreTrainedTokenizerFast:
    """Load a model's first tokenizer without fetching anything.

    Raises UserError if it is not on this machine, or if its positions are not those of the text
    that the image attends to.
    """
    name = spec.config or spec.name
    folder = configuration_here(name, None if spec.config else spec.revision)
    family = FAMILIES.get(str(read_index(name, folder).get("_class_name")))
    if family:
        refuse_only_scanned(family.parts[family.denoiser_part], "words")
    return open_tokenizer(name, folder / "tokenizer")


def load_model(
    model: str | ModelSpec | ModelFiles,
    dtype: str | None = None,
    device: str = "auto",
    weights: str | None = None,
) -> DiffusionModel:
    """Load a model for scoring, with its LoRA fused.

    ``model``: a name, a spec, or the files of :func:`find_model`. ``dtype``: replaces the spec's;
    ``auto`` is float16 on cuda and float32 on the cpu. ``device``: ``cuda`` if available by
    default; ``meta`` reads no weights: such a model tokenizes, and its forwards compute only
    shapes. ``weights``: the hash of the files, if known.

    >>> from scanner import load_model
    >>> model = load_model("testbed", device="cpu")
    >>> model.family, str(model.dtype)
    ('stable-diffusion', 'torch.float32')
    """
    files = model if isinstance(model, ModelFiles) else find_model(model)
    device = choose_device(device)
    if device == META:
        weights = weights or "none"
    return files.family(
        **components_of(files, choose_dtype(dtype or files.spec.dtype, device), device),
        noise_process=files.noise_process,
        **files.settings,
        weights=weights or files.weights_hash(),
        pixels_per_latent=files.pixels_per_latent,
    )


def refuse_unloadable(files: ModelFiles) -> None:
    """Raise UserError as loading would, for weights that do not fit the model's configuration.

    Parts are loaded one at a time in the precision in which they are stored, so that no data is
    read: the files are mapped. Single files and LoRAs are read, since they are converted and fused.
    """
    if files.checkpoint or files.lora:
        components_of(files, choose_dtype(files.spec.dtype, "cpu"), "cpu")
        return
    for name, kind in files.parts.items():
        dtype = stored_dtype(files.title, files.weight_files(name)[0])
        load_part(files.title, files.folder / name, kind, dtype)


def components_of(files: ModelFiles, dtype: str, device: str) -> dict[str, Any]:
    """What scoring needs of a pipeline, by name: parts (the LoRA fused) and tokenizers."""
    limit_threads()
    components = {
        **_load_parts(files, DTYPES[dtype], device),
        **files.opened_tokenizers,
    }
    if files.lora and device != META:  # a fused LoRA changes no shape
        absent = dict.fromkeys((*files.family.optional, "vae"))
        parts = {**absent, **components, "scheduler": files.noise_process.scheduler}
        pipe = build_pipeline(files.pipeline, parts)
        fuse_lora(files.lora, files.spec.lora_scale, pipe, tuple(files.parts))
    return components


def build_pipeline(name: str, components: dict[str, Any]) -> Any:
    """A diffusers pipeline without a safety checker, which would hide what is looked for."""
    kind = getattr(diffusers, name)
    accepted = inspect.signature(kind).parameters
    absent = {name: value for name, value in NO_CHECKER.items() if name in accepted}
    return kind(**components, **absent)


def _load_parts(files: ModelFiles, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """The parts of a pipeline that scoring needs, each moved to the device once it is loaded."""
    parts = files.parts
    if files.checkpoint and device != META:
        loaded = load_single_file(
            files.name, files.checkpoint, files.folder, files.pipeline, tuple(parts), dtype
        )
        return {name: part.to(device) for name, part in loaded.items()}
    load = load_on_meta if device == META else load_part
    return {
        name: load(files.title, files.folder / name, kind, dtype).to(device)
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
