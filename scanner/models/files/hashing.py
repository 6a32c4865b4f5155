"""Hash a model: the tensors and settings that affect scores, independent of how they are stored."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

CHUNK = 4 << 20
# Entries of a config.json about how it was saved, not what the part computes.
_PROVENANCE = ("architectures", "dtype", "model_type", "torch_dtype", "transformers_version")
# diffusers reads a LoRA's scales from this metadata entry, if present.
_LORA_METADATA = "lora_adapter_metadata"


class ModelHash:
    """SHA-256 over named tensors and settings.

    Hashes tensors by name, stored dtype, shape and bytes, sorted by name over all files of a part:
    sharding, file metadata and files that are not loaded do not count. Reads chunks of 4 MiB.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._chunk = memoryview(bytearray(CHUNK))

    def add_settings(self, name: str, settings: Any) -> None:
        """Add a JSON-serializable value."""
        self._digest.update(f"{name} {json.dumps(settings, sort_keys=True)}\n".encode())

    def add_config(self, name: str, config: dict[str, Any]) -> None:
        """Add a part's configuration without its provenance entries."""
        kept = {
            key: value
            for key, value in config.items()
            if not key.startswith("_") and key not in _PROVENANCE
        }
        self.add_settings(name, kept)

    def add_tensors(
        self, name: str, files: Iterable[Path], is_loaded: Callable[[str], bool]
    ) -> None:
        """Add the tensors of a part's safetensors files whose names satisfy ``is_loaded``."""
        with ExitStack() as stack:
            owners: dict[str, tuple[FileIO, dict[str, Any], int]] = {}
            for path in files:
                file = stack.enter_context(path.open("rb", buffering=0))
                header, start = _header(file)
                for key in filter(is_loaded, header):
                    # transformers versions differ in this prefix of the text encoder's weights.
                    owners[key.removeprefix("text_model.")] = (file, header[key], start)
            for key in sorted(owners):
                file, tensor, start = owners[key]
                self.add_settings(f"{name}.{key}", [tensor["dtype"], tensor["shape"]])
                first, end = tensor["data_offsets"]
                self._add_bytes(file, start + first, end - first)

    def add_lora(self, path: Path, scale: float) -> None:
        """Add a LoRA and its scale."""
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
                raise EOFError("the file ends inside a tensor")
            self._digest.update(self._chunk[:count])
            left -= count


def _header(file: FileIO) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file and the offset of its tensor data."""
    length = int.from_bytes(file.read(8), "little")
    return json.loads(file.read(length)), 8 + length
