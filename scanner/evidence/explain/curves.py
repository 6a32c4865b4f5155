"""Signals over the denoising steps, with the band of the held-out captions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.evidence.explain.trace import Trace
from scanner.models import DiffusionModel
from scanner.signals.attention import (
    attention_entropy,
    bos_mass,
    prompt_mass,
    summary_mass,
)

LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True)
class Curve:
    """Values per step, with the 5th, 50th and 95th percentile of the held-out captions.

    ``title``: for display, with the unit. The percentiles are empty without held-out captions.
    """

    name: str
    title: str
    values: list[float]
    low: list[float]
    median: list[float]
    high: list[float]

    @property
    def above(self) -> float:
        """Return the share of steps with a value above the band."""
        return _share(value > high for value, high in zip(self.values, self.high, strict=False))

    @property
    def below(self) -> float:
        """Return the share of steps with a value below the band."""
        return _share(value < low for value, low in zip(self.values, self.low, strict=False))


def make_curves(model: DiffusionModel, caption: Trace, held_out: Trace | None) -> list[Curve]:
    """Compute the curves of a caption (batch of one) and their band of held-out captions."""
    return [
        _curve(
            name,
            title.format(effect=effect_of(model)),
            signal(model, caption)[:, 0],
            None if held_out is None else signal(model, held_out),
        )
        for name, (title, signal) in _CURVES.items()
        if name != "text_share" or model.has_joint_attention
    ]


def effect_of(model: DiffusionModel) -> str:
    """Return what the model predicts, in words."""
    return "velocity" if model.noise_process.kind == "flow_matching" else "noise"


def bos_band(held_out: Trace) -> Tensor:
    """Return the 5th and 95th percentile of the BOS token's share over the captions: (2, S, N)."""
    return torch.quantile(held_out.abar_SNBL[..., 0], torch.tensor([LOW, HIGH]), dim=2)


def _share(steps: Iterable[bool]) -> float:
    flags = list(steps)
    return sum(flags) / len(flags) if flags else 0.0


def _curve(name: str, title: str, values_S: Tensor, others_SB: Tensor | None) -> Curve:
    band: list[list[float]] = [[], [], []]
    if others_SB is not None:
        shares = torch.tensor([LOW, 0.5, HIGH])
        band = torch.quantile(others_SB, shares, dim=1).tolist()
    return Curve(name, title, values_S.tolist(), *band)


def _early(
    signal: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[DiffusionModel, Trace], Tensor]:
    """Apply a signal to ā averaged over the early layers, at every step: (S, B)."""

    def over_steps(model: DiffusionModel, trace: Trace) -> Tensor:
        early_SBL = trace.abar_SNBL[:, list(model.early_layers)].mean(1)
        return torch.stack([signal(abar_BL, trace.is_prompt_BL) for abar_BL in early_SBL])

    return over_steps


_CURVES: dict[str, tuple[str, Callable[[DiffusionModel, Trace], Tensor]]] = {
    "noise_norm": (
        "text-conditional {effect} (L2 norm)",
        lambda _, trace: trace.noise_norm_SB,
    ),
    "text_share": (
        "text in the image's attention (share)",
        lambda model, trace: _early_share(model, trace),
    ),
    "bos_mass": (
        "attention on the BOS token (share)",
        _early(lambda abar_BL, _: bos_mass(abar_BL)),
    ),
    "prompt_mass": ("attention on the words (share)", _early(prompt_mass)),
    "summary_mass": ("attention on EOS and padding (share)", _early(summary_mass)),
    "entropy_e": (
        "attention entropy, one layer (nats)",
        lambda model, trace: _entropy(trace.abar_SNBL[:, model.entropy_layer]),
    ),
    "entropy": (
        "attention entropy, all layers (nats)",
        lambda _, trace: _entropy(trace.abar_SNBL.mean(1)),
    ),
}


def _early_share(model: DiffusionModel, trace: Trace) -> Tensor:
    assert trace.share_SNB is not None, "joint attention"
    return trace.share_SNB[:, list(model.early_layers)].mean(1)


def _entropy(abar_SBL: Tensor) -> Tensor:
    return torch.stack([attention_entropy(abar_BL) for abar_BL in abar_SBL])
