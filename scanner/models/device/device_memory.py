"""The memory of a model's weights, and of the device that they are for."""

from dataclasses import dataclass
from pathlib import Path

import torch

from scanner.memory import available_memory, usable_memory
from scanner.models.device.gpu_share import CONTEXT_BYTES
from scanner.models.diffusion_model import DiffusionModel

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of memory that one process may use: all that the device has, and what is free.

    device: its name in messages. kind: cpu or cuda.
    """

    device: str
    free: int
    total: int
    kind: str


def device_memory(device: str, share: float = 1.0) -> DeviceMemory:
    """Return the memory of this machine's device, ``cuda`` or ``cpu`` (the machine's own).

    ``share``: of the device, for a process that shares it. On CUDA, free memory is that of the
    driver and of torch's cache.
    """
    if device != "cuda":
        total = int(min(share, 1) * usable_memory())
        return DeviceMemory(device, min(available_memory(), total), total, device)
    free, total = torch.cuda.mem_get_info()
    free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    if share < 1:
        total = int(share * total) - CONTEXT_BYTES
    return DeviceMemory(device, min(free, total), total, device)


def peak_memory(device: str) -> int:
    """Return the most bytes that this process has held at a time: on CUDA those of torch's
    allocator, with its cache; on the CPU its resident size."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved()
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
    except (OSError, StopIteration):  # not Linux
        return 0


def weight_bytes(model: DiffusionModel) -> dict[str, int]:
    """Return the bytes of each part's weights and buffers, also of parts on the meta device."""
    return {name: _tensor_bytes(part) for name, part in model.components.items()}


def largest_layer_bytes(part: torch.nn.Module) -> int:
    """Return the bytes of the module with most weights of its own, apart from its children's."""
    return max(sum(w.nbytes for w in one.parameters(recurse=False)) for one in part.modules())


def offloaded_bytes(transformer: torch.nn.Module) -> int:
    """Return the bytes of weights that an offloaded transformer has on the device at most: those
    outside of blocks, and the largest block."""
    lists = [part for part in transformer.children() if isinstance(part, torch.nn.ModuleList)]
    blocks = [_tensor_bytes(block) for part in lists for block in part]
    return _tensor_bytes(transformer) - sum(blocks) + max(blocks)


def _tensor_bytes(part: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*part.parameters(), *part.buffers()))
