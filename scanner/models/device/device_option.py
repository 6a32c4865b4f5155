"""Check the option --device, without loading torch."""

import re

from scanner.errors import UsageError

APPLE = (
    "Apple GPUs are not supported: precision, batch sizes and the recorded attention are "
    "implemented and tested for CUDA and the CPU only"
)


def check_device(device: str, takes_number: bool = False) -> None:
    """Raise UsageError unless the device is auto, cuda or cpu; ``takes_number``: or cuda:1."""
    if device in ("auto", "cuda", "cpu"):
        return
    if takes_number and re.fullmatch(r"cuda:\d{1,3}", device):
        return
    if device.partition(":")[0] == "mps":
        raise UsageError(f"--device {device}: {APPLE}; use --device cpu")
    raise UsageError(f"--device {device}: must be cuda, cpu or auto")
