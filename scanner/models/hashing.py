"""The hash of a model: of the tensors and settings that decide a score, however they are stored."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

CHUNK = 4 << 20
# Entries of a config.json that say who saved it and how, not what the part computes.
_BY_WHOM = ("architectures", "dtype", "model_type", "torch_dtype", "transformers_version")
# diffusers reads the scales of a LoRA from here, where the file has them.
_LORA_METADATA = "lora_adapter_metadata"


class ModelHash:
    """SHA-256 over named tensors and settings.

    Tensors go in by name, stored type, shape and bytes, ordered by name over all files of a part:
    how they are sharded, what a file says beside them, and files that are not loaded do not count.
    They are read in chunks of 4 MiB.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._chunk = memoryview(bytearray(CHUNK))

    def add_settings(self, name: str, settings: Any) -> None:
        """Add what can be written as JSON."""
        self._digest.update(f"{name} {json.dumps(settings, sort_keys=True)}\n".encode())

    def add_config(self, name: str, config: dict[str, Any]) -> None:
        """Add a part's configuration, without who saved it."""
        kept = {
            key: value
            for key, value in config.items()
            if not key.startswith("_") and key not in _BY_WHOM
        }
        self.add_settings(name, kept)

    def add_tensors(
        self, name: str, files: Iterable[Path], is_loaded: Callable[[str], bool]
    ) -> None:
        """Add the tensors of a part's safetensors files whose names ``is_loaded`` takes."""
        with ExitStack() as stack:
            owners: dict[str, tuple[FileIO, dict[str, Any], int]] = {}
            for path in files:
                file = stack.enter_context(path.open("rb", buffering=0))
                header, start = _header(file)
                for key in filter(is_loaded, header):
                    # transformers has renamed the text encoder's weights by this prefix.
                    owners[key.removeprefix("text_model.")] = (file, header[key], start)
            for key in sorted(owners):
                file, tensor, start = owners[key]
                self.add_settings(f"{name}.{key}", [tensor["dtype"], tensor["shape"]])
                first, end = tensor["data_offsets"]
                self._add_bytes(file, start + first, end - first)

    def add_lora(self, path: Path, scale: float) -> None:
        """Add a LoRA with what it is multiplied by."""
        with path.open("rb", buffering=0) as file:
            header, _ = _header(file)
        scales = header.get("__metadata__", {}).get(_LORA_METADATA)
        self.add_settings("lora", [scale, scales])
        self.add_tensors("lora", [path], lambda key: key != "__metadata__")

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def _add_bytes(self, file: FileIO, start: int, left: int) -> None:
        file.seek(start)
        while left:
            count = file.readinto(self._chunk[: min(left, CHUNK)])
            if not count:
                raise EOFError("the file ends within a tensor")
            self._digest.update(self._chunk[:count])
            left -= count


def _header(file: FileIO) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file and where the bytes of its tensors begin."""
    length = int.from_bytes(file.read(8), "little")
    return json.loads(file.read(length)), 8 + length
