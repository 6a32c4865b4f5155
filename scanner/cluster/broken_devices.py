"""Tell errors of a broken device from other errors of torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from scanner.cluster.failures import BrokenDevice


@contextmanager
def raise_broken_devices() -> Iterator[None]:
    """Raise BrokenDevice for an error after which this process cannot use its device."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise BrokenDevice(str(error)) from error
        raise
