"""Keep each process to its share of a GPU's memory."""

import torch

# What CUDA itself takes per process (context, kernels), outside of torch's allocator.
CONTEXT_BYTES = 768 << 20


def keep_to_share(device: str, share: float) -> None:
    """Limit torch's allocator in this process to its share of the GPU's memory.

    ``share``: of one GPU, as in ``--gpus-per-actor``; from 1 on, and on the CPU, there is no limit.
    Beyond it, allocations raise ``torch.OutOfMemoryError``: a process that grows runs out of its
    own share, rather than making a neighbor fail.
    """
    if device == "cpu" or share >= 1:
        return
    context = CONTEXT_BYTES / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(share - context, share / 2))
