"""One adapter per model family, behind one small interface."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanner.models.conditioning import Conditioning
    from scanner.models.decoding import Decode, load_decoder
    from scanner.models.diffusion_model import DiffusionModel
    from scanner.models.files.finding import find_model
    from scanner.models.files.model_files import ModelFiles
    from scanner.models.loading import load_model, load_tokenizer
    from scanner.models.spec import ModelOptions, ModelSpec
    from scanner.models.tokens import Tokens, canonical, tokenize

__all__ = [
    "Conditioning",
    "Decode",
    "DiffusionModel",
    "ModelFiles",
    "ModelOptions",
    "ModelSpec",
    "Tokens",
    "canonical",
    "find_model",
    "load_decoder",
    "load_model",
    "load_tokenizer",
    "tokenize",
]
_MODULES = {
    "conditioning": ("Conditioning",),
    "decoding": ("Decode", "load_decoder"),
    "diffusion_model": ("DiffusionModel",),
    "files.finding": ("find_model",),
    "loading": ("load_model", "load_tokenizer"),
    "files.model_files": ("ModelFiles",),
    "spec": ("ModelOptions", "ModelSpec"),
    "tokens": ("Tokens", "canonical", "tokenize"),
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a command's options are shown without torch.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
