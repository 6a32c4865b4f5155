"""The whole pipeline of a model, as diffusers runs it, to generate with."""

from typing import Any

from scanner.models.decoding import load_vae
from scanner.models.loading import DTYPES, build_pipeline, components_of
from scanner.models.model_files import ModelFiles


def load_pipeline(files: ModelFiles, dtype: str, device: str) -> Any:
    """A diffusers pipeline with its VAE, its LoRA fused, and the DDIM schedule of the scores.

    Raises UserError where the model has no VAE in safetensors.
    """
    components = components_of(files, dtype, device)
    components["vae"] = load_vae(files).to(DTYPES[dtype])
    pipe = build_pipeline(files.pipeline, components | files.settings).to(device)
    pipe.set_progress_bar_config(disable=True)
    for name in (*files.family.parts, "vae"):
        getattr(pipe, name).eval().requires_grad_(False)
    if device != "cpu" and dtype == "float16" and hasattr(pipe, "upcast_vae"):
        pipe.vae.config.force_upcast = True
    return pipe
