"""Trace captions through guided denoising, recording their attention.

Shapes: S steps, N cross-attention layers in execution order, B captions, L text positions, h x w
latent pixels.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.models import Tokens
from scanner.probe import AttentionRecord, watch_attention
from scanner.scoring.forwards import Forwards, at_latent_size
from scanner.signals.noise import difference_norm

log = logging.getLogger("memscan.explain")


@dataclass(frozen=True)
class Trace:
    """Record of a denoising, on the CPU.

    ``abar_SNBL``: ā per step and layer. ``noise_norm_SB``: ‖ε_c − ε_∅‖₂ per step. ``n_B``: token
    counts. ``x_BCHW``: final latents. ``heat_LHW``: for a batch of one and only if requested, the
    attention on each text position at latent size, summed over steps and layers.
    """

    abar_SNBL: Tensor
    noise_norm_SB: Tensor
    n_B: Tensor
    x_BCHW: Tensor
    heat_LHW: Tensor | None = None


@torch.inference_mode()
def trace(forwards: Forwards, tokens: Tokens, seed: int, heat: bool = False) -> Trace:
    """Denoise a batch of captions with guidance, all from the seed's initial noise.

    ``heat``: also record where in the image each token is attended to (batch of one only).
    """
    model = forwards.model
    text = model.encode(tokens, forwards.latent_shape)
    abar, norms, step = [], [], None
    summed = torch.zeros(())
    with watch_attention(model.denoiser, model.layers) as record:
        record.keeps_whole = heat
        for step in forwards.denoise(text, seed, record):
            abar.append(record.abar_NBL.cpu())
            norms.append(difference_norm(step.difference_BCHW).cpu())
            if heat:
                summed = summed + _heat(record, forwards.latent_shape[1:])
    assert step is not None, "a schedule has a step"
    return Trace(
        torch.stack(abar),
        torch.stack(norms),
        tokens.n_B,
        step.x_BCHW.cpu(),
        summed if heat else None,
    )


def trace_all(
    forwards: Forwards, captions: Sequence[str], seed: int, batch_size: int
) -> Trace | None:
    """Trace captions in batches, and concatenate the traces; None for no captions."""
    if not captions:
        return None
    parts = []
    for start in range(0, len(captions), batch_size):
        log.info(f"tracing held-out captions: {start} of {len(captions)} done")
        batch = list(captions[start : start + batch_size])
        parts.append(trace(forwards, forwards.model.tokenize(batch), seed))
    return Trace(
        torch.cat([part.abar_SNBL for part in parts], 2),
        torch.cat([part.noise_norm_SB for part in parts], 1),
        torch.cat([part.n_B for part in parts]),
        torch.cat([part.x_BCHW for part in parts]),
    )


def _heat(record: AttentionRecord, size: tuple[int, ...]) -> Tensor:
    """Return a step's attention per text position at latent size, summed over layers: (L, h, w).

    Like the heat maps of Tang et al. 2023 (DAAM), but with bilinear interpolation.
    """
    maps = [at_latent_size(whole[0].T, size) for whole in record.whole.values()]
    return torch.stack(maps).sum(0).cpu()
