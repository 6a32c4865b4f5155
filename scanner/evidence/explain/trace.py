"""Follow captions through the guided denoising, and keep where their attention goes.

Shapes: S steps, N cross-attention layers in run order, B captions, L text positions, h x w latent
pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.models import Tokens
from scanner.probe import AttentionRecord, watch_attention
from scanner.scoring.forwards import Forwards, at_latent_size
from scanner.signals.noise import difference_norm

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trace:
    """What was seen, on the CPU.

    abar_SNBL: ā of every step and layer. noise_norm_SB: ‖ε_c − ε_∅‖₂ of every step. n_B: token
    counts. x_BCHW: the latents at the end. heat_LHW: of a batch of one, where it was asked for,
    the attention on each text position, summed over steps and layers at the latent's size.
    """

    abar_SNBL: Tensor
    noise_norm_SB: Tensor
    n_B: Tensor
    x_BCHW: Tensor
    heat_LHW: Tensor | None = None


@torch.inference_mode()
def trace(forwards: Forwards, tokens: Tokens, seed: int, heat: bool = False) -> Trace:
    """One guided denoising of a batch of captions, all from the seed's initial noise.

    ``heat``: also keep where in the picture each token is looked at (a batch of one only).
    """
    model = forwards.model
    text = model.encode(tokens, forwards.latent_shape)
    abar, norms, step = [], [], None
    summed = torch.zeros(())
    with watch_attention(model.unet, model.layers) as record:
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
    forwards: Forwards, captions: Sequence[str], seed: int, batch_size: int, say: Say
) -> Trace | None:
    """The traces of many captions as one, in batches; None for no captions."""
    if not captions:
        return None
    parts = []
    for start in range(0, len(captions), batch_size):
        say(f"following held-out captions: {start} of {len(captions)} done")
        batch = list(captions[start : start + batch_size])
        parts.append(trace(forwards, forwards.model.tokenize(batch), seed))
    return Trace(
        torch.cat([part.abar_SNBL for part in parts], 2),
        torch.cat([part.noise_norm_SB for part in parts], 1),
        torch.cat([part.n_B for part in parts]),
        torch.cat([part.x_BCHW for part in parts]),
    )


def _heat(record: AttentionRecord, size: tuple[int, ...]) -> Tensor:
    """(L, h, w): a step's attention on every text position, all layers at one size and summed.

    As the heat maps of Tang et al. 2023 (DAAM), but bilinear.
    """
    maps = [at_latent_size(whole[0].T, size) for whole in record.whole.values()]
    return torch.stack(maps).sum(0).cpu()
