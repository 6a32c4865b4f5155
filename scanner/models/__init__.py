"""One adapter per model family, behind one small interface."""

from scanner.models.conditioning import Conditioning
from scanner.models.decoding import Decode, load_decoder
from scanner.models.diffusion_model import DiffusionModel
from scanner.models.finding import find_model
from scanner.models.loading import load_model, load_tokenizer
from scanner.models.model_files import ModelFiles
from scanner.models.tokens import Tokens, canonical, tokenize

__all__ = [
    "Conditioning",
    "Decode",
    "DiffusionModel",
    "ModelFiles",
    "Tokens",
    "canonical",
    "find_model",
    "load_decoder",
    "load_model",
    "load_tokenizer",
    "tokenize",
]
