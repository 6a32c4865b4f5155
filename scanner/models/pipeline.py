"""Load the whole diffusers pipeline of a model, for generation and training."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

from scanner.models.decoding import load_vae
from scanner.models.diffusion_model import DiffusionModel
from scanner.models.files.model_files import ModelFiles
from scanner.models.files.opening import opening
from scanner.models.loading import DTYPES, NO_CHECKER, build_pipeline, components_of


def load_pipeline(files: ModelFiles, dtype: str, device: str) -> Any:
    """Load a diffusers pipeline with its VAE, its LoRA fused, and the scheduler of the scores.

    Raises UserError if the model has no VAE in safetensors.
    """
    components = {
        **dict.fromkeys(files.family.optional),
        **components_of(files, dtype, device),
    }
    components["vae"] = load_vae(files).to(DTYPES[dtype])
    components["scheduler"] = files.noise_process.scheduler
    pipe = build_pipeline(files.pipeline, components | files.settings).to(device)
    pipe.set_progress_bar_config(disable=True)
    for name in (*files.parts, "vae"):
        getattr(pipe, name).eval().requires_grad_(False)
    if device != "cpu" and dtype == "float16" and hasattr(pipe, "upcast_vae"):
        pipe.vae.config.force_upcast = True
    return pipe


def model_of(files: ModelFiles, pipe: Any, weights: str) -> DiffusionModel:
    """Return the model of a pipeline that load_pipeline has loaded; both share all parts.

    ``weights``: the hash of the files.
    """
    return files.family(
        **{name: getattr(pipe, name) for name in (*files.parts, *files.tokenizers)},
        noise_process=files.noise_process,
        **files.settings,
        weights=weights,
        pixels_per_latent=files.pixels_per_latent,
    )


def denoiser_of(pipe: Any) -> torch.nn.Module:
    """Return a pipeline's U-Net or transformer."""
    denoiser: torch.nn.Module = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    return denoiser


def is_unet(denoiser: torch.nn.Module) -> bool:
    """Return whether a denoiser is a U-Net with cross-attention."""
    return isinstance(denoiser, UNet2DConditionModel)


def as_output(denoiser: torch.nn.Module, sample_RCHW: torch.Tensor) -> Any:
    """Return a prediction as the denoiser's forward does without ``return_dict=False``."""
    kind = UNet2DConditionOutput if is_unet(denoiser) else Transformer2DModelOutput
    return kind(sample=sample_RCHW)


def pipeline_of(files: ModelFiles, model: DiffusionModel) -> Any:
    """Return a loaded model's pipeline for training and saving, with its VAE and own scheduler.

    Raises UserError if the VAE is missing or damaged.
    """
    kind = getattr(diffusers, files.pipeline)
    # diffusers takes a part that the model lacks as None, even if model_index.json says null.
    names = (*model.parts, *model.tokenizers)
    parts = {name: getattr(model, name) for name in names}
    # Neither trained nor scored, and not downloaded with models from the hub.
    accepted = inspect.signature(kind).parameters
    absent = {**NO_CHECKER, "image_encoder": None}
    parts |= {name: value for name, value in absent.items() if name in accepted}
    vae = load_vae(files).to(model.device)
    with opening(files.name, "model_index.json"):
        return kind.from_pretrained(
            files.folder,
            vae=vae,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **parts,
        )


@contextmanager
def replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace an instance's method within this context."""
    original = getattr(owner, name)
    previous = vars(owner).get(name)
    setattr(owner, name, functools.wraps(original)(functools.partial(function)))
    try:
        yield
    finally:
        if previous is None:
            delattr(owner, name)
        else:
            setattr(owner, name, previous)
