"""The hash of a model: of the tensors and settings that decide a score, however they are stored."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

# Entries of a config.json that say who saved it and how, not what the part computes.
_BY_WHOM = ("architectures", "dtype", "model_type", "torch_dtype", "transformers_version")
# diffusers reads the scales of a LoRA from here, where the file has them.
LORA_METADATA = "lora_adapter_metadata"


class ModelHash:
    """SHA-256 over named tensors and settings.

    Tensors go in by name, stored dtype, shape and bytes, ordered by name over all files of a part:
    how they are sharded, what the header says beside them, and files that are not loaded do not
    count. They are mapped into memory and never copied.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

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
        """Add the tensors of a part's files whose names ``is_loaded`` takes."""
        with ExitStack() as stack:
            owners: dict[str, tuple[Any, str]] = {}
            for path in files:
                file = stack.enter_context(safe_open(path, "pt"))
                keys = filter(is_loaded, file.keys())
                # transformers has renamed the text encoder's weights by this prefix.
                owners |= {key.removeprefix("text_model."): (file, key) for key in keys}
            for plain in sorted(owners):
                file, key = owners[plain]
                tensor = file.get_tensor(key)
                self._digest.update(f"{name}.{plain} {tensor.dtype} {[*tensor.shape]}\n".encode())
                self._digest.update(tensor.reshape(-1).view(torch.uint8).numpy())

    def add_lora(self, path: Path, scale: float) -> None:
        """Add a LoRA with what it is multiplied by."""
        with safe_open(path, "pt") as file:
            scales = (file.metadata() or {}).get(LORA_METADATA)
        self.add_settings("lora", [scale, scales])
        self.add_tensors("lora", [path], lambda _: True)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
