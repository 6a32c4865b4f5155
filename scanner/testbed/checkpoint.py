"""Save the state of a part of the training, so that a killed training resumes there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from scanner.errors import UserError

RANDOM_STATE = "random_state"


@dataclass
class Checkpoint:
    """One part of the training: its weights, their moving average, its optimizer, and the state of
    PyTorch's random numbers, in a safetensors file; nothing is saved if ``path`` is None.
    ``every``: steps between saves."""

    path: Path | None
    modules: torch.nn.ModuleDict
    optimizer: torch.optim.Optimizer
    every: int = 500

    def steps(self, count: int) -> Iterator[int]:
        """Yield the steps that are left of ``count``; save regularly and at the end."""
        begin = self._load() if self.path and self.path.exists() else 0
        if begin > count:
            raise UserError(f"{self.path}: at step {begin:,} of {count:,}; delete it to restart")
        for step in range(begin, count):
            yield step
            if (step + 1) % self.every == 0 or step + 1 == count:
                self._save(step + 1)

    def _save(self, step: int) -> None:
        if not self.path:
            return
        tensors = {f"modules.{key}": value for key, value in self.modules.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
        tensors[RANDOM_STATE] = torch.get_rng_state()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        contiguous = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
        safetensors.torch.save_file(contiguous, unfinished, {"step": str(step)})
        unfinished.replace(self.path)

    def _load(self) -> int:
        with safetensors.safe_open(self.path, "pt") as file:
            step = int(file.metadata()["step"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        torch.set_rng_state(tensors.pop(RANDOM_STATE))
        states: dict[int, dict[str, Tensor]] = {}
        for key in [key for key in tensors if key.startswith("optimizer.")]:
            _, number, name = key.split(".")
            states.setdefault(int(number), {})[name] = tensors.pop(key)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.modules.load_state_dict(
            {key.removeprefix("modules."): value for key, value in tensors.items()}
        )
        return step
