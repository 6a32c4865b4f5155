"""Keep a model's text encoders in host memory."""

import torch
from accelerate import cpu_offload

from scanner.models.diffusion_model import DiffusionModel


def offload_text_encoders(model: DiffusionModel, device: str) -> None:
    """Move the denoiser to a device and the text encoders to host memory, in place.

    Each layer of a text encoder is copied to the device when it runs, and freed after it
    (accelerate's sequential offloading), so that encoding computes what it computes without.
    """
    model.denoiser.to(device)
    for encoder in model.text_encoders.values():
        if not hasattr(encoder, "_hf_hook"):  # offloaded before
            cpu_offload(encoder.to("cpu"), execution_device=torch.device(device))
