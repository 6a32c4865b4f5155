"""One adapter per model family, behind one small interface."""

from scanner.models.conditioning import Conditioning
from scanner.models.diffusion_model import DiffusionModel
from scanner.models.finding import ModelFiles, find_model
from scanner.models.loading import load_model, load_tokenizer
from scanner.models.sdxl import StableDiffusionXL
from scanner.models.stable_diffusion import StableDiffusion
from scanner.models.tokens import Tokens, canonical

__all__ = [
    "Conditioning",
    "DiffusionModel",
    "ModelFiles",
    "StableDiffusion",
    "StableDiffusionXL",
    "Tokens",
    "canonical",
    "find_model",
    "load_model",
    "load_tokenizer",
]
