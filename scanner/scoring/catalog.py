"""Every signal: its column, what it needs of the model, how it is computed.

To add one: an equation in :mod:`scanner.signals`, an entry here, a test.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from scanner.run.schema import column
from scanner.signals.attention import (
    attention_entropy,
    beginning_mass,
    prompt_mass,
    summary_mass,
)
from scanner.signals.noise import noise_norm

FLOATS = pa.list_(pa.float32())
VERSION = 1


@dataclass(frozen=True)
class Needs:
    """What has to be run: attention at step 0, and both noise branches at step 0."""

    attention: bool = False
    noise: bool = False

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(self.attention or other.attention, self.noise or other.noise)


@dataclass(frozen=True)
class Observation:
    """What one batch of captions, at one seed, let us see.

    attention: ā (B, L) of every cross-attention layer that ran at step 0, in run order.
    conditional, unconditional: ε_c and ε_∅ (B, C, H, W) at step 0. n_B: token counts.
    """

    n_B: Tensor
    early_layers: tuple[int, ...]
    entropy_layer: int
    attention: list[Tensor]
    conditional: Tensor | None = None
    unconditional: Tensor | None = None

    @property
    def early(self) -> Tensor:
        """ā averaged over the early layers (B, L)."""
        return torch.stack([self.attention[layer] for layer in self.early_layers]).mean(0)


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
_ATTENTION = Needs(attention=True)


def _noise_norm_first(seen: Observation) -> Tensor:
    assert seen.conditional is not None
    assert seen.unconditional is not None
    return noise_norm(seen.conditional, seen.unconditional)


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
        _noise_norm_first,
        memorized=1,
        seeds_column="noise_norm_first_seeds",
    ),
)

SIGNALS = {signal.name: signal for signal in _ALL}


@dataclass(frozen=True)
class Profile:
    """A named choice of signals, and how many seeds it takes by default."""

    signals: tuple[str, ...]
    seeds: int


PROFILES = {"standard": Profile(tuple(SIGNALS), seeds=1)}
