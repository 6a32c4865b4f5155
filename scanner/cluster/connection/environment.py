"""Describe what work runs on, for commits and quarantined items."""

import re
from pathlib import Path

import torch

DRIVER = Path("/proc/driver/nvidia/version")


def environment(device: str) -> dict[str, str]:
    """Return the versions of torch, CUDA and the driver, and the model of the device (cpu or cuda)
    that this process uses."""
    versions = {"device": "cpu", "torch": torch.__version__}
    if device == "cuda":
        versions |= {"device": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
        if DRIVER.exists():
            found = re.search(r"Module.*?(\d+\.[\d.]+)", DRIVER.read_text(encoding="utf-8"))
            versions["driver"] = found[1] if found else "unknown"
    return versions
