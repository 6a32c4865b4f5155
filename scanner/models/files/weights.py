"""List the safetensors files with a part's weights, and their tensors, without reading the data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from scanner.models.files.names import model_error
from scanner.models.files.opening import AGAIN, opening, read_json, refuse_pointer

ENDING = ".safetensors"
INDEX = f"{ENDING}.index.json"
STEMS = ("model", "diffusion_pytorch_model")  # of transformers and of diffusers
VARIANT = "fp16"
"""The variant of ``save_pretrained(variant=…)`` that is loaded where there are no other weights."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
_CONVERT = "convert them with diffusers' save_pretrained(safe_serialization=True)"


def expected_files(name: str, folder: Path, kind: type[Any]) -> list[Path]:
    """Return the files that are loaded from a part's folder: those of VARIANT if it has no others.

    :func:`refuse_missing` checks that they exist. Raises UserError for an unreadable index.
    """
    if is_variant(folder, kind):
        return _files(name, folder, kind, f".{VARIANT}")
    return plain_files(name, folder, kind)


def plain_files(name: str, folder: Path, kind: type[Any]) -> list[Path]:
    """Return the files that ``kind.from_pretrained`` loads without a variant.

    One file, or the shards of an index. Raises UserError for an unreadable index.
    """
    return _files(name, folder, kind, "")


def is_variant(folder: Path, kind: type[Any]) -> bool:
    """Return whether a part has weights of VARIANT and no others."""
    plain, variant = (
        any(path.exists() for path in _heads(folder, kind, v)) for v in ("", f".{VARIANT}")
    )
    return variant and not plain


def _heads(folder: Path, kind: type[Any], variant: str) -> tuple[Path, Path]:
    """Return the single file of a part and the index of its shards, by their usual names."""
    stem = STEMS[0 if issubclass(kind, PreTrainedModel) else 1]
    index = INDEX.replace(".json", f"{variant}.json")
    return folder / f"{stem}{variant}{ENDING}", folder / f"{stem}{index}"


def _files(name: str, folder: Path, kind: type[Any], variant: str) -> list[Path]:
    of_transformers = issubclass(kind, PreTrainedModel)
    single, index = _heads(folder, kind, variant)
    # If both exist, transformers loads the single file and diffusers the shards.
    if not index.exists() or (of_transformers and single.exists()):
        return [single]
    place = f"{folder.name}/{index.name}"
    shards = read_json(name, index, place).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise model_error(name, f"{place}: weight_map is missing; {AGAIN}")
    files = sorted({str(file) for file in shards.values()})
    for file in files:
        if Path(file).name != file or not file.endswith(ENDING):
            raise model_error(
                name, f"{place}: {file} is not a {ENDING} file in the same folder; {AGAIN}"
            )
    return [folder / file for file in files]


def refuse_missing(name: str, folder: Path, files: Iterable[Path]) -> None:
    """Raise UserError if a file of a part's weights is missing or damaged."""
    for path in files:
        if not path.exists():
            raise model_error(name, _what_is_there(folder, path))
        outline(name, path, f"{folder.name}/{path.name}")


def _what_is_there(folder: Path, wanted: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if wanted.stem not in STEMS:
        return f"{folder.name}/{wanted.name}: missing, but listed in the index; {AGAIN}"
    lacking = f"no safetensors weights in {folder.name}/ ({wanted.name} is missing)"
    others = [name for name in names if name.endswith(ENDING)]
    if others:
        return (
            f"{lacking}; found {', '.join(others[:3])}: variants other than {VARIANT} are ignored; "
            f"rename the one to scan to {wanted.name}"
        )
    pickled = [name for name in names if name.endswith(PICKLED)]
    if pickled:
        return (
            f"{lacking}; {', '.join(pickled[:3])}: weights in other formats are not loaded, since "
            f"they can execute code; {_CONVERT}"
        )
    return f"{lacking}; {AGAIN} (the hub may have only a variant such as non_ema)"


def outline(name: str, path: Path, place: str = "") -> dict[str, torch.Tensor]:
    """Return a file's tensors by name on the meta device (shapes without data).

    ``place``: the file's name within the model, unless it is the model itself. Raises UserError if
    it is not a safetensors file.
    """
    called = place or path.name
    if path.suffix.lower() != ENDING:
        raise model_error(
            name,
            f"{called}: only {ENDING} files are loaded, since files in other formats can execute "
            "code; convert it",
        )
    refuse_pointer(name, path, called)
    with opening(name, called):
        try:
            with safe_open(path, "pt") as file:
                names = file.keys()
                shapes = [file.get_slice(key).get_shape() for key in names]
        except SafetensorError as error:
            raise model_error(
                name, f"{called}: not a safetensors file, or damaged ({error}); {AGAIN}"
            ) from error
    return {
        key: torch.empty(shape, device="meta") for key, shape in zip(names, shapes, strict=True)
    }


def stored_dtype(name: str, path: Path) -> torch.dtype:
    """Return the dtype of a file's first tensor of floating-point numbers."""
    with opening(name, path.name), safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 (no mapping)
            stored = _FLOATS.get(file.get_slice(key).get_dtype())
            if stored:
                return stored
    return torch.float32
