"""Keep parts of a model in host memory, from which they visit the device."""

import torch
from accelerate import cpu_offload
from diffusers.hooks import apply_group_offloading

from scanner.models.diffusion_model import DiffusionModel


def place(model: DiffusionModel, device: str, text_encoders: bool, denoiser: bool) -> None:
    """Move a model to a device, in place, but keep the parts that are offloaded in host memory.

    Each layer of an offloaded text encoder is copied to the device when it runs, and freed after it
    (accelerate's sequential offloading); each block of an offloaded denoiser as
    :func:`offload_blocks` says. Both compute what they compute without.
    """
    if not denoiser:
        model.denoiser.to(device)
    elif not model.is_offloaded:
        offload_blocks(model.denoiser, torch.device(device))
        model.is_offloaded = True
    model.move_tables(torch.device(device))
    for encoder in model.text_encoders.values():
        if not text_encoders:
            encoder.to(device)
        elif not hasattr(encoder, "_hf_hook"):  # offloaded before
            cpu_offload(encoder.to("cpu"), execution_device=torch.device(device))


def offload_blocks(transformer: torch.nn.Module, device: torch.device) -> None:
    """Keep a transformer's weights in host memory; while a block runs, its weights are on the
    device.

    By diffusers' group offloading, which swaps a weight's data, so that instrumented copies over
    the same weights can be offloaded likewise. Without streams: with them, it would restore what a
    copy's replayed prefix held at first. So a forward copies every block to the device and back.
    """
    apply_group_offloading(transformer, device, offload_type="block_level", num_blocks_per_group=1)
