"""The forward of an instrumented denoiser, compiled for one batch size at a time."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from scanner.probe.recording import RecordingDenoiser

Forward = tuple[Tensor | None, Tensor]
# As torch.compile takes it: a name or a function.
Backend = str | Callable[..., Any]
BACKEND: Backend = "inductor"
RECOMPILE_LIMIT = 64
"""Compiled shapes and models per process; torch gives up after 8 by default."""


class CompiledDenoiser:
    """Runs an instrumented denoiser with torch.compile, on CUDA as a CUDA graph; every new shape
    recompiles.

    If compilation fails, it warns and runs uncompiled from then on.
    """

    def __init__(self, denoiser: RecordingDenoiser, backend: Backend = BACKEND) -> None:
        self.denoiser = denoiser
        self.is_compiled = True
        on_cuda = next(denoiser.parameters()).device.type == "cuda"
        self._clones = on_cuda
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, RECOMPILE_LIMIT)
        self._run = torch.compile(
            denoiser,
            fullgraph=True,
            dynamic=False,
            backend=backend,
            mode="reduce-overhead" if on_cuda else None,
        )

    def __call__(self, hidden_BLC: Tensor, added: dict[str, Tensor]) -> Forward:
        """Return what the denoiser's forward returns."""
        if not self.is_compiled:
            return self.denoiser(hidden_BLC, added)
        torch.compiler.cudagraph_mark_step_begin()
        try:
            output, abar_NBL = self._run(hidden_BLC, added)
        except TorchDynamoException as error:
            reason = " ".join(str(error).splitlines()[:2]) or type(error).__name__
            warnings.warn(f"the model runs uncompiled, which is slower: {reason}", stacklevel=2)
            self.is_compiled = False
            return self.denoiser(hidden_BLC, added)
        if not self._clones:
            return output, abar_NBL
        # The next replay of a CUDA graph overwrites its outputs.
        return (None if output is None else output.clone()), abar_NBL.clone()
