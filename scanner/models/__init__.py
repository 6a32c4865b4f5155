"""One adapter per model family, behind one small interface."""

from scanner.models.conditioning import Conditioning
from scanner.models.loading import ModelFiles, find_model, load_model, load_tokenizer
from scanner.models.stable_diffusion import StableDiffusion
from scanner.models.tokens import Tokens, canonical

__all__ = [
    "Conditioning",
    "ModelFiles",
    "StableDiffusion",
    "Tokens",
    "canonical",
    "find_model",
    "load_model",
    "load_tokenizer",
]
