"""What is followed over the steps of the denoising, and the band that held-out captions keep to."""

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
    """A value at every step, and the held-out captions' 5th, 50th and 95th percentile there.

    title: for people, with the unit. The three are empty where there are no held-out captions.
    """

    name: str
    title: str
    values: list[float]
    low: list[float]
    median: list[float]
    high: list[float]

    @property
    def above(self) -> float:
        """The share of the steps at which the value lies above the band."""
        return _share(value > high for value, high in zip(self.values, self.high, strict=False))

    @property
    def below(self) -> float:
        """The share of the steps at which the value lies below the band."""
        return _share(value < low for value, low in zip(self.values, self.low, strict=False))


def curves(model: DiffusionModel, one: Trace, others: Trace | None) -> list[Curve]:
    """The curves of one caption (a batch of one) against those of held-out captions."""
    return [
        _curve(name, title, of(model, one)[:, 0], None if others is None else of(model, others))
        for name, (title, of) in _FOLLOWED.items()
    ]


def beginning_band(others: Trace) -> Tensor:
    """(2, S, N): the 5th and 95th percentile of the beginning token's share over the captions."""
    return torch.quantile(others.abar_SNBL[..., 0], torch.tensor([LOW, HIGH]), dim=2)


def _share(steps: Iterable[bool]) -> float:
    found = list(steps)
    return sum(found) / len(found) if found else 0.0


def _curve(name: str, title: str, values_S: Tensor, others_SB: Tensor | None) -> Curve:
    band: list[list[float]] = [[], [], []]
    if others_SB is not None:
        shares = torch.tensor([LOW, 0.5, HIGH])
        band = torch.quantile(others_SB, shares, dim=1).tolist()
    return Curve(name, title, values_S.tolist(), *band)


def _early(
    of: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[DiffusionModel, Trace], Tensor]:
    """(S, B): a share of ā averaged over the early layers."""

    def over_steps(model: DiffusionModel, seen: Trace) -> Tensor:
        early_SBL = seen.abar_SNBL[:, list(model.early_layers)].mean(1)
        return torch.stack([of(abar_BL, seen.n_B) for abar_BL in early_SBL])

    return over_steps


_FOLLOWED: dict[str, tuple[str, Callable[[DiffusionModel, Trace], Tensor]]] = {
    "noise_norm": (
        "text-conditional noise (L2 norm)",
        lambda _, seen: seen.noise_norm_SB,
    ),
    "bos_mass": (
        "attention on the beginning token (share)",
        _early(lambda abar_BL, _: bos_mass(abar_BL)),
    ),
    "prompt_mass": ("attention on the words (share)", _early(prompt_mass)),
    "summary_mass": ("attention on the end and padding (share)", _early(summary_mass)),
    "entropy_e": (
        "attention entropy, one layer (nats)",
        lambda model, seen: _entropy(seen.abar_SNBL[:, model.entropy_layer]),
    ),
    "entropy": (
        "attention entropy, all layers (nats)",
        lambda _, seen: _entropy(seen.abar_SNBL.mean(1)),
    ),
}


def _entropy(abar_SBL: Tensor) -> Tensor:
    return torch.stack([attention_entropy(abar_BL) for abar_BL in abar_SBL])
