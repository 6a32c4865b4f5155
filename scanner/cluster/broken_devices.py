"""Tell errors of a broken device from other errors of torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from scanner.cluster.failures import BrokenDevice
from scanner.memory import is_out_of_memory


@contextmanager
def raise_broken_devices() -> Iterator[None]:
    """Raise BrokenDevice for an error after which this process cannot use its device.

    Errors that mean out of memory, also of CUDA, cuBLAS and cuDNN, pass unchanged.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise BrokenDevice(str(error)) from error
        raise
