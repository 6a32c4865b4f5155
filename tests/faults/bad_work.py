"""Work of a scan that fails as devices and models do; made in the actors of a real scan."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scanner.cluster import Result
from scanner.run import Slice
from scanner.scan.work import ScanWork

POISON = "poison"


@dataclass(frozen=True)
class BadWork:
    """Makes the scan's own work and spoils it. ``faults``: slice id → what befalls it, once.

    ``notes``: a folder that remembers what has happened already, whatever process it was in.
    """

    work: ScanWork
    faults: dict[str, str]
    notes: str

    def __call__(self) -> "_Bad":
        made = self.work()
        model = made.scorer.model
        poison = model.tokenizer(POISON)["input_ids"][1]
        with torch.no_grad():
            model.text_encoder.get_input_embeddings().weight[poison] = float("nan")
        return _Bad(made, self.faults, Path(self.notes))


@dataclass
class _Bad:
    made: Any
    faults: dict[str, str]
    notes: Path

    def prepare(self, item: Slice) -> tuple[str, Any]:
        return item.id, self.made.prepare(item)

    def compute(self, prepared: tuple[str, Any]) -> Any:
        name, read = prepared
        fault = self.faults.get(name)
        note = self.notes / f"{name}-{fault}"
        if fault is None or note.exists():
            return self.made.compute(read)
        note.touch()
        if fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hangs":
            time.sleep(3600)
        return self._short_of_memory(read)

    def _short_of_memory(self, read: Any) -> Any:
        """The device has room for three captions at a time, and says so as CUDA does."""
        model = self.made.scorer.model
        encode = model.encode

        def small(tokens: Any, latent_shape: Any) -> Any:
            if len(tokens.ids_BL) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return encode(tokens, latent_shape)

        model.encode = small
        try:
            return self.made.compute(read)
        finally:
            model.encode = encode

    def finish(self, computed: Any) -> Result:
        return self.made.finish(computed)
