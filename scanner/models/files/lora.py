"""Find a LoRA and fuse it into a model's weights."""

from pathlib import Path
from typing import Any

from peft.tuners.lora import LoraLayer

from scanner.models.files.fetching import local_copy
from scanner.models.files.names import model_error
from scanner.models.files.opening import opening
from scanner.models.files.weights import outline
from scanner.models.parts import quiet

USUAL_NAME = "pytorch_lora_weights.safetensors"
# Names of a layer's two matrices, by format.
PAIRS = (
    (".lora_down.", ".lora_up."),
    (".lora.down.", ".lora.up."),
    ("_lora.down.", "_lora.up."),
    (".lora_A.", ".lora_B."),
    (".lora_linear_layer.down.", ".lora_linear_layer.up."),
)
BOTH_ORDERS = (*PAIRS, *((up, down) for down, up in PAIRS))


def find_lora(name: str) -> Path:
    """Return the LoRA's file on this machine.

    ``name``: a local path or URL of a .safetensors file, or of a directory with one (or with
    diffusers' pytorch_lora_weights.safetensors). Raises UserError for anything else, and for DoRA,
    whose magnitudes diffusers ignores.
    """
    path = local_copy(name)
    if path is None:
        raise model_error(f"--lora {name}", "no such file, directory or URL; check the path")
    if path.is_dir():
        usual, any_name = path / USUAL_NAME, sorted(path.glob("*.safetensors"))
        if not usual.exists() and len(any_name) != 1:
            raise model_error(
                f"--lora {name}",
                f"{len(any_name)} .safetensors files and no {USUAL_NAME} in this directory; name "
                "one file",
            )
        path = usual if usual.exists() else any_name[0]
    _refuse_keys(f"--lora {name}", set(outline(f"--lora {name}", path)))
    return path


def _refuse_keys(name: str, keys: set[str]) -> None:
    """Raise UserError for weights that diffusers would silently ignore or fill in."""
    magnitudes = sorted(key for key in keys if "dora_scale" in key)
    if magnitudes:
        raise model_error(name, f"a DoRA ({magnitudes[0]}) is not supported; a LoRA is")
    pairs = {key: key.replace(*marks) for key in keys for marks in BOTH_ORDERS if marks[0] in key}
    unknown = sorted(key for key in keys - pairs.keys() if not key.endswith(".alpha"))
    lacking = sorted(set(pairs.values()) - keys)
    if unknown or not pairs:
        some = ", ".join(unknown[:3]) or "none"
        raise model_error(
            name,
            f"{len(unknown)} of its {len(keys)} weights do not belong to a LoRA ({some}); "
            "supported are LoRA files in the format of diffusers or kohya, without other weights",
        )
    if lacking:
        raise model_error(
            name,
            f"{len(lacking)} weights of a pair are missing ({', '.join(lacking[:3])}): the file is "
            "incomplete; download or save it again",
        )


def fuse_lora(path: Path, scale: float, pipe: Any, parts: tuple[str, ...]) -> None:
    """Add a LoRA, multiplied by ``scale``, to the weights of a pipeline's parts, in place.

    Takes the diffusers format, and kohya's, which diffusers converts. Raises UserError if the LoRA
    was made for another architecture.
    """
    name, pipeline = f"--lora {path}", type(pipe).__name__
    with opening(name, f"does not fit a {pipeline}", "was it made for another model?"), quiet():
        pipe.load_lora_weights(
            str(path.parent),
            weight_name=path.name,
            use_safetensors=True,
            local_files_only=True,
            adapter_name="lora",
        )
    expected = sum(any(down in key for down, _ in PAIRS) for key in outline(name, path))
    loaded = sum(isinstance(m, LoraLayer) for part in parts for m in getattr(pipe, part).modules())
    if loaded < expected or not loaded:  # diffusers ignores unknown layers
        raise model_error(
            name,
            f"{loaded} of its {expected} layers belong to this {pipeline}; was it made for another "
            "model?",
        )
    pipe.fuse_lora(components=list(parts), lora_scale=scale, adapter_names=["lora"])
    pipe.unload_lora_weights()
