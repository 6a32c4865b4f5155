"""What a safetensors file holds, without reading it."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from scanner.errors import UserError


def outline(name: str, path: Path) -> dict[str, torch.Tensor]:
    """A file's tensors by name, with their shapes and no contents (on the meta device).

    Raises UserError, in which the file is called ``name``, for what is no safetensors file.
    """
    if path.suffix.lower() != ".safetensors":
        raise UserError(
            f"{name}: only .safetensors files are loaded, since files in other formats can run "
            "code; convert it"
        )
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            shapes = [file.get_slice(key).get_shape() for key in names]
    except SafetensorError as error:
        raise UserError(f"{name}: not a safetensors file, or damaged: {error}") from error
    return {
        key: torch.empty(shape, device="meta") for key, shape in zip(names, shapes, strict=True)
    }
