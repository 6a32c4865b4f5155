"""The whole pipeline of a model, as diffusers runs it, to generate with."""

from typing import Any

import diffusers
import torch

from scanner.models.decoding import load_vae
from scanner.models.diffusion_model import score_scheduler
from scanner.models.finding import ModelFiles
from scanner.models.loading import DTYPES, load_parts, load_tokenizer
from scanner.models.lora import fuse_lora


def load_pipeline(files: ModelFiles, dtype: str, device: str) -> Any:
    """A diffusers pipeline with its VAE, its LoRA fused, and the DDIM schedule of the scores.

    There is no safety checker: it would hide what is looked for. Raises UserError where the model
    has no VAE in safetensors.
    """
    family = files.family
    parts = load_parts(files, DTYPES[dtype])
    parts["vae"] = load_vae(files).to(DTYPES[dtype])
    components = {
        **parts,
        **{name: load_tokenizer(files, name) for name in family.tokenizers},
        "scheduler": score_scheduler(files.config("scheduler")),
    }
    if files.lora:
        fuse_lora(files.lora, files.lora_scale, files.pipeline, tuple(family.parts), components)
    kind = getattr(diffusers, files.pipeline)
    if files.pipeline == "StableDiffusionPipeline":
        components |= {"safety_checker": None, "feature_extractor": None}
        components["requires_safety_checker"] = False
    pipe = kind(**components, **files.settings).to(device)
    pipe.set_progress_bar_config(disable=True)
    for part in parts.values():
        part.eval().requires_grad_(False)
    if device != "cpu" and DTYPES[dtype] == torch.float16 and hasattr(pipe, "upcast_vae"):
        pipe.vae.config.force_upcast = True
    return pipe
