"""Every signal: its column, what it needs of the model, how it is computed.

To add one: an equation in :mod:`scanner.signals`, an entry here, a test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa
import torch
from torch import Tensor

from scanner.run.schema import column
from scanner.scoring.forwards import Trajectory
from scanner.scoring.schedule import Needs
from scanner.signals.attention import (
    attention_entropy,
    beginning_mass,
    entropy_d,
    prompt_mass,
    summary_mass,
)
from scanner.signals.noise import anisotropy, bright_ending, low_noise_cosine, noise_norm

FLOATS = pa.list_(pa.float32())
VERSION = 1
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Observation:
    """What one batch of B captions, at one seed, let us see; None for what was not needed.

    attention: ā (B, L) of every cross-attention layer that ran at step 0, in run order.
    conditional, unconditional: ε_c (B, C, h, w) and ε_∅ (1, C, h, w) at step 0; low_conditional,
    low_unconditional: at the low-noise step, on the same pure noise. alpha: ᾱ at step 0.
    gradient_BL: norm of the gradient at each text position. n_B: token counts.
    """

    n_B: Tensor
    early_layers: tuple[int, ...]
    entropy_layer: int
    alpha: float
    anisotropy_weights: tuple[float, float]
    attention: list[Tensor] = field(default_factory=list)
    conditional: Tensor | None = None
    unconditional: Tensor | None = None
    low_conditional: Tensor | None = None
    low_unconditional: Tensor | None = None
    trajectory: Trajectory | None = None
    gradient_BL: Tensor | None = None

    @property
    def early(self) -> Tensor:
        """ā averaged over the early layers (B, L)."""
        return torch.stack([self.attention[layer] for layer in self.early_layers]).mean(0)

    @property
    def noise_norm(self) -> Tensor:
        """‖ε_c − ε_∅‖₂ at step 0 (B,)."""
        return noise_norm(there(self.conditional), there(self.unconditional))

    @property
    def cosine(self) -> Tensor:
        """The cosine part of the anisotropy (B,)."""
        return low_noise_cosine(there(self.low_conditional), there(self.low_unconditional))


def there(value: Seen | None) -> Seen:
    """A part of an observation that the signal's needs asked for."""
    assert value is not None, "a signal looks at what its needs do not ask for"
    return value


@dataclass(frozen=True)
class Signal:
    """One column of the score table.

    compute gives (B,), or (B, K) for a list column; the table holds the mean over the seeds.
    memorized: +1 if memorized captions have higher values, −1 if lower. seeds_column: the list
    column that keeps the value of each seed. by_token: the list is cut to the caption's tokens.
    """

    field: pa.Field
    needs: Needs
    compute: Callable[[Observation], Tensor]
    memorized: int
    seeds_column: str | None = None
    by_token: bool = False

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def documented_field(self) -> pa.Field:
        """The field, which also says whether memorized captions have higher or lower values."""
        way = {"memorized": "higher" if self.memorized > 0 else "lower"}
        return self.field.with_metadata({**(self.field.metadata or {}), **way})


_REN = "Ren et al. 2024 (ECCV)"
_ASTHANA = "Asthana et al. 2026 (ICLR)"
_ATTENTION = Needs(attention=True)


_ALL = (
    Signal(
        column(
            "entropy_e",
            pa.float32(),
            "entropy of the mean cross-attention at step 0 in layer 3",
            "nats",
            f"{_REN}, metric E",
        ),
        _ATTENTION,
        lambda seen: attention_entropy(seen.attention[seen.entropy_layer]),
        memorized=1,
        seeds_column="entropy_e_seeds",
    ),
    Signal(
        column("entropy_layers", FLOATS, "the same, each layer in run order", "nats", _REN),
        _ATTENTION,
        lambda seen: torch.stack([attention_entropy(abar) for abar in seen.attention], 1),
        memorized=1,
    ),
    Signal(
        column(
            "bos_mass",
            pa.float32(),
            "attention on the beginning token at step 0, early layers",
            "share",
            f"{_REN}, finding 1",
        ),
        _ATTENTION,
        lambda seen: beginning_mass(seen.early),
        memorized=-1,
    ),
    Signal(
        column(
            "prompt_mass",
            pa.float32(),
            "attention on the caption's words at step 0, early layers",
            "share",
            f"{_REN}, finding 1",
        ),
        _ATTENTION,
        lambda seen: prompt_mass(seen.early, seen.n_B),
        memorized=1,
    ),
    Signal(
        column(
            "summary_mass",
            pa.float32(),
            "attention on the end token and the padding at step 0, early layers",
            "share",
            f"{_REN}, finding 2",
        ),
        _ATTENTION,
        lambda seen: summary_mass(seen.early, seen.n_B),
        memorized=1,
    ),
    Signal(
        column("bos_mass_layers", FLOATS, "bos_mass of each layer in run order", "share", _REN),
        _ATTENTION,
        lambda seen: torch.stack([beginning_mass(abar) for abar in seen.attention], 1),
        memorized=-1,
    ),
    Signal(
        column(
            "summary_mass_layers", FLOATS, "summary_mass of each layer in run order", "share", _REN
        ),
        _ATTENTION,
        lambda seen: torch.stack([summary_mass(abar, seen.n_B) for abar in seen.attention], 1),
        memorized=1,
    ),
    Signal(
        column(
            "token_mass",
            FLOATS,
            "attention on each token at step 0, early layers, from the beginning token to the end",
            "share",
        ),
        _ATTENTION,
        lambda seen: seen.early,
        memorized=1,
        by_token=True,
    ),
    Signal(
        column(
            "noise_norm_first",
            pa.float32(),
            "L2 norm of the text-conditional noise at step 0 over the whole latent",
            "latent units",
            "Wen et al. 2024 (ICLR), one step",
        ),
        Needs(noise=True),
        lambda seen: seen.noise_norm,
        memorized=1,
        seeds_column="noise_norm_first_seeds",
    ),
    Signal(
        column(
            "cosine_low_noise",
            pa.float32(),
            "cosine of the text-conditional and the unconditional score at the low-noise step, on "
            "pure noise, mean over the pixels",
            source=_ASTHANA,
        ),
        Needs(low_noise=True),
        lambda seen: seen.cosine,
        memorized=1,
    ),
    Signal(
        column(
            "anisotropy",
            pa.float32(),
            "weighted sum of the score's norm at step 0 and cosine_low_noise",
            source=_ASTHANA,
        ),
        Needs(noise=True, low_noise=True),
        lambda seen: anisotropy(seen.noise_norm, seen.cosine, seen.alpha, seen.anisotropy_weights),
        memorized=1,
    ),
    Signal(
        column(
            "entropy_d",
            pa.float32(),
            "mean attention entropy of the last fifth of the steps over all layers, plus what the "
            "summary tokens' part gained since step 0",
            "nats",
            f"{_REN}, metric D, as their code computes it",
        ),
        Needs(trajectory=True),
        lambda seen: entropy_d(
            there(seen.trajectory).late_KBL, torch.stack(seen.attention).mean(0), seen.n_B
        ),
        memorized=1,
    ),
    Signal(
        column(
            "noise_norm_mean",
            pa.float32(),
            "noise norm, mean over the steps of the guided trajectory",
            "latent units",
            "Wen et al. 2024 (ICLR)",
        ),
        Needs(trajectory=True),
        lambda seen: there(seen.trajectory).differences_SBCHW.flatten(2).norm(dim=2).mean(0),
        memorized=1,
    ),
    Signal(
        column(
            "bright_ending",
            pa.float32(),
            "noise norm under the end token's last attention map, mean over the trajectory",
            "latent units",
            "Chen et al. 2025 (ICLR)",
        ),
        Needs(trajectory=True),
        lambda seen: bright_ending(
            there(seen.trajectory).differences_SBCHW, there(seen.trajectory).ending_BHW
        ),
        memorized=1,
    ),
    Signal(
        column(
            "token_gradient",
            FLOATS,
            "L2 norm of the gradient of noise_norm_first by each token's text hidden state",
            source="Wen et al. 2024 (ICLR)",
        ),
        Needs(gradient=True),
        lambda seen: there(seen.gradient_BL),
        memorized=1,
        by_token=True,
    ),
)

SIGNALS = {signal.name: signal for signal in _ALL}

_TRIAGE = tuple(signal.name for signal in _ALL if signal.needs == _ATTENTION)
_STANDARD = (*_TRIAGE, "noise_norm_first")
_THOROUGH = (*_STANDARD, "cosine_low_noise", "anisotropy")


@dataclass(frozen=True)
class Profile:
    """A named choice of signals, and how many seeds it takes by default."""

    signals: tuple[str, ...]
    seeds: int


PROFILES = {
    "triage": Profile(_TRIAGE, seeds=1),
    "standard": Profile(_STANDARD, seeds=1),
    "thorough": Profile(_THOROUGH, seeds=4),
    "trajectory": Profile((*_THOROUGH, "entropy_d", "noise_norm_mean", "bright_ending"), seeds=1),
}
