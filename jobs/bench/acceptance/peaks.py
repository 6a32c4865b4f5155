"""Peak rate of a device: published, and measured on a large matrix product."""

import re
import time
from typing import Any

import torch

from jobs.bench.acceptance.part import Options, seconds
from scanner.errors import UsageError
from scanner.models.loading import DTYPES
from scanner.scan.gpu_estimate import find_card

SIDE_CUDA, SIDE_CPU = 8192, 1024


def published(device_name: str) -> float | None:
    """Return a device's published dense float16 rate (since the A100 also bfloat16) in TFLOP/s,
    None if it is not in the table."""
    without_memory = re.sub(r"-?\b\d+ ?GB\b.*", "", device_name)  # sizes have the same rate
    try:
        return float(find_card(without_memory).peak_tflops)
    except UsageError:
        return None


def measured(dtype: str, options: Options) -> float:
    """Return the TFLOP/s of one large product of random matrices."""
    side, device = SIDE_CUDA if options.on_cuda else SIDE_CPU, torch.device(options.device)
    a, b = (torch.randn(side, side, device=device).to(DTYPES[dtype]) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, device, options, rounds=10) / 1e12


def peaks(options: Options) -> dict[str, Any]:
    """Return the name, versions and rates of the device."""
    began = time.perf_counter()
    torch.zeros(1, device=options.device)
    figures: dict[str, Any] = {
        "device": device_name(options.device),
        "seconds_to_start_device": time.perf_counter() - began,
        "torch": torch.__version__,
        "published_tflops": published(device_name(options.device)),
        "measured_tflops": {dtype: measured(dtype, options) for dtype in options.dtypes},
    }
    if options.on_cuda:
        properties = torch.cuda.get_device_properties(options.device)
        figures |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "memory_bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "measured_tflops_float32": measured("float32", options),
        }
    return figures


def device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
