"""Set the arithmetic precision of a GPU, once per process."""

import torch


def fix_precision(device: torch.device) -> None:
    """Disable TF32 on CUDA, and sum half-precision products in float32.

    TF32 would change float32 scores by about 0.1 %. It is disabled for matrix products and
    convolutions, so float32 scores agree with the CPU's and the fingerprint needs no entry for it.
    cuDNN may benchmark its algorithms, which only changes rounding.
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
