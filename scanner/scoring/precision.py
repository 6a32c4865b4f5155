"""What a GPU may round, fixed once per process."""

import torch


def fix_precision(device: torch.device) -> None:
    """Make float32 mean float32 on CUDA, and sums of half-precision products float32.

    TF32 would move float32 scores by a thousandth; it is off for matrix products and
    convolutions, so float32 scores agree with the CPU's and the fingerprint needs no entry for it.
    cuDNN may choose among its algorithms by trial: that changes rounding only.
    """
    if device.type != "cuda":
        return
    for name in (
        "allow_tf32",
        "allow_fp16_reduced_precision_reduction",
        "allow_bf16_reduced_precision_reduction",
    ):
        setattr(torch.backends.cuda.matmul, name, False)
    for name, choice in {"allow_tf32": False, "benchmark": True}.items():
        setattr(torch.backends.cudnn, name, choice)
