"""Observe the operations that PyTorch runs, each as a primitive one."""

from abc import abstractmethod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class PrimitiveOperations(TorchDispatchMode):
    """Decomposes operations that are compositions of others, and lets ``run`` do the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._primitive: set[Any] = {torch.ops.prim.device.default}

    def __torch_dispatch__(
        self, call: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if call not in self._primitive:
            with self:  # in inference mode, compositions arrive whole
                result = call.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
            self._primitive.add(call)
        return self.run(call, args, kwargs)

    @abstractmethod
    def run(self, call: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Return the result of a primitive operation."""
