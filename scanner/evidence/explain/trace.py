"""Trace captions through guided denoising, recording their attention.

Shapes: S steps, N layers in which the image attends to the text, in execution order, B captions,
L text positions, h x w latent pixels.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.models import Tokens
from scanner.probe import AttentionRecord, watch_attention
from scanner.scoring.forwards import Forwards
from scanner.scoring.trajectory import at_latent_size
from scanner.signals.attention import of_text, prompt_positions, text_share
from scanner.signals.noise import difference_norm

log = logging.getLogger("memscan.explain")


@dataclass(frozen=True)
class Trace:
    """Record of a denoising, on the CPU.

    ``abar_SNBL``: ā per step and layer, a distribution over the text. ``noise_norm_SB``:
    ‖ε_c − ε_∅‖₂ or ‖v_c − v_∅‖₂ per step. ``is_prompt_BL``: which positions hold the caption's
    words. ``x_BCHW``: final latents. ``share_SNB``: of joint attention, the text's share per step
    and layer. ``heat_LHW``: for a batch of one and only if requested, the attention on each text
    position at latent size, summed over steps and layers.
    """

    abar_SNBL: Tensor
    noise_norm_SB: Tensor
    is_prompt_BL: Tensor
    x_BCHW: Tensor
    share_SNB: Tensor | None = None
    heat_LHW: Tensor | None = None


@torch.inference_mode()
def trace(forwards: Forwards, tokens: Tokens, seed: int, heat: bool = False) -> Trace:
    """Denoise a batch of captions with guidance, all from the seed's initial noise.

    ``heat``: also record where in the image each token is attended to (batch of one only).
    """
    model = forwards.model
    text = model.encode(tokens, forwards.latent_shape)
    abar, shares, norms, step = [], [], [], None
    summed = torch.zeros(())
    with watch_attention(model.denoiser, model.layers) as record:
        record.keeps_whole = heat
        for step in forwards.denoise(text, seed, record):
            abar_NBL = record.abar_NBL.cpu()
            if model.has_joint_attention:
                shares.append(text_share(abar_NBL))
                abar_NBL = of_text(abar_NBL)
            abar.append(abar_NBL)
            norms.append(difference_norm(step.difference_BCHW).cpu())
            if heat:
                share_NB = shares[-1] if shares else None
                summed = summed + _heat(record, forwards.latent_shape[1:], share_NB)
    assert step is not None, "a schedule has a step"
    is_prompt_BL = tokens.words_BL
    if is_prompt_BL is None:
        is_prompt_BL = prompt_positions(tokens.n_B, text.hidden_BLC.shape[1])
    return Trace(
        torch.stack(abar),
        torch.stack(norms),
        is_prompt_BL,
        step.x_BCHW.cpu(),
        torch.stack(shares) if shares else None,
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
        torch.cat([part.is_prompt_BL for part in parts]),
        torch.cat([part.x_BCHW for part in parts]),
        None if not forwards.model.has_joint_attention else torch.cat(_shares(parts), 2),
    )


def _shares(parts: Sequence[Trace]) -> list[Tensor]:
    return [part.share_SNB for part in parts if part.share_SNB is not None]


def _heat(record: AttentionRecord, size: tuple[int, ...], share_NB: Tensor | None) -> Tensor:
    """Return a step's attention per text position at latent size, summed over layers: (L, h, w).

    Like the heat maps of Tang et al. 2023 (DAAM), but with bilinear interpolation. With joint
    attention, each layer's map is divided by the text's share in it, as ā is: averaged over the
    image, the sum over the text is then 1 per layer.
    """
    maps = []
    for number, whole_BPL in record.whole.items():
        share = 1.0 if share_NB is None else float(share_NB[number, 0])
        maps.append(at_latent_size(whole_BPL[0].T, size) / share)
    return torch.stack(maps).sum(0).cpu()
