"""A LoRA on top of a model: found, and fused into its weights."""

from pathlib import Path
from typing import Any

from peft.tuners.lora import LoraLayer

from scanner.errors import UserError
from scanner.models.fetching import local_copy
from scanner.models.weights_file import outline

USUAL_NAME = "pytorch_lora_weights.safetensors"
DOWN = (".lora_down.", "lora.down.", ".lora_A.", ".lora_linear_layer.down.")


def find_lora(name: str) -> Path:
    """The LoRA's file on this machine.

    ``name``: a local path or URL of a .safetensors file, or of a directory with one (or with
    diffusers' pytorch_lora_weights.safetensors). Raises UserError for anything else, and for
    DoRA, whose magnitudes diffusers leaves out.
    """
    path = local_copy(name)
    if path is None:
        raise UserError(f"--lora {name}: no such file, directory or URL")
    if path.is_dir():
        usual, any_name = path / USUAL_NAME, sorted(path.glob("*.safetensors"))
        if not usual.exists() and len(any_name) != 1:
            raise UserError(
                f"--lora {name}: {len(any_name)} .safetensors files and no {USUAL_NAME} in this "
                "directory; name one file"
            )
        path = usual if usual.exists() else any_name[0]
    magnitudes = [key for key in outline(f"--lora {name}", path) if "dora_scale" in key]
    if magnitudes:
        raise UserError(f"--lora {name}: a DoRA ({magnitudes[0]}) is not supported; a LoRA is")
    return path


def fuse_lora(path: Path, scale: float, pipe: Any, parts: tuple[str, ...]) -> None:
    """Add a LoRA, times ``scale``, to the weights of these parts of a pipeline, in place.

    In the diffusers format, and in kohya's, which diffusers converts. Raises UserError where the
    LoRA was made for another architecture.
    """
    pipeline = type(pipe).__name__
    try:
        pipe.load_lora_weights(
            str(path.parent),
            weight_name=path.name,
            use_safetensors=True,
            local_files_only=True,
            adapter_name="lora",
        )
    except Exception as error:  # whatever a wrong shape or an unknown key leads to
        raise UserError(
            f"--lora {path}: does not fit a {pipeline}: {str(error).splitlines()[0]}; was it made "
            "for another model?"
        ) from error
    there = sum(any(mark in key for mark in DOWN) for key in outline(f"--lora {path}", path))
    taken = sum(isinstance(m, LoraLayer) for part in parts for m in getattr(pipe, part).modules())
    if taken < there or not taken:  # diffusers leaves out what it does not know
        raise UserError(
            f"--lora {path}: {taken} of its {there} layers belong to this {pipeline}; was it made "
            "for another model?"
        )
    pipe.fuse_lora(components=list(parts), lora_scale=scale, adapter_names=["lora"])
    pipe.unload_lora_weights()
