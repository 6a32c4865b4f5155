"""The catalog of signals: column, required forwards and computation of each.

Signals of one forward on pure noise are published for the first step, or for the low-noise step.
``name@low`` and ``name@T`` ask for the same at the low-noise step or at timestep T, in the columns
name_low and name_T.

To add a signal, write its equation in :mod:`scanner.signals`, an entry here, and a test.
"""

import re
from collections.abc import Callable

import pyarrow as pa
from torch import Tensor

from scanner.errors import UserError
from scanner.run.schema import column
from scanner.scoring.observation import Observation, OnNoise, Signal, required
from scanner.scoring.schedule import FIRST, LOW, Needs, NoiseLevel
from scanner.signals.attention import (
    bos_mass,
    entropy_d,
    prompt_mass,
    summary_mass,
)
from scanner.signals.noise import anisotropy, bright_ending, noise_norm_mean

FLOATS = pa.list_(pa.float32())
VERSION = 1
TOKEN_MASS = "token_mass"

_REN = "Ren et al. 2024 (ECCV)"
_WEN = "Wen et al. 2024 (ICLR)"
_ASTHANA = "Asthana et al. 2026 (ICLR)"
_REQUESTED = re.compile(r"(?P<name>[a-z_]+?)[@_](?P<level>low|[0-9]{1,9})")


def attention_needs(level: NoiseLevel) -> Needs:
    """Return the needs of a signal of the early layers' attention."""
    return Needs(attention=frozenset({level}))


def find_signal(name: str) -> Signal:
    """Return the signal of a column, or the one asked for as ``name@low`` or ``name@T``.

    Raises UserError if there is none.
    """
    if name in SIGNALS:
        return SIGNALS[name]
    asked = _REQUESTED.fullmatch(name)
    if asked and asked["name"] in AT_ANY_LEVEL:
        level = LOW if asked["level"] == "low" else int(asked["level"])
        return AT_ANY_LEVEL[asked["name"]](level)
    raise UserError(
        f"signal {name!r}: one of {', '.join(SIGNALS)}; or, at the low-noise step or a timestep T, "
        f"NAME@low or NAME@T with NAME one of {', '.join(AT_ANY_LEVEL)}"
    )


def _where(level: NoiseLevel) -> str:
    if level == FIRST:
        return "at step 0"
    if level == LOW:
        return "on pure noise at the low-noise step"
    return f"on pure noise at timestep {level}"


def _named(name: str, level: NoiseLevel) -> str:
    return name if level == FIRST else f"{name}_{level}"


def _attention(
    name: str,
    kind: pa.DataType,
    description: str,
    unit: str,
    source: str,
    compute: Callable[[OnNoise, Tensor], Tensor],
    memorized: int,
    has_seeds: bool = False,
    by_token: bool = False,
) -> Callable[[NoiseLevel], Signal]:
    """Return what makes an attention signal for a noise level. ``description``: with {at};
    ``compute``: from the forward and the token counts; the published direction, ``memorized``, is
    for the first step."""

    def at(level: NoiseLevel) -> Signal:
        named, described = _named(name, level), description.format(at=_where(level))
        if memorized and level != FIRST:
            described += "; its direction was published for step 0"
        return Signal(
            column(named, kind, described, unit, source),
            attention_needs(level),
            lambda observation: compute(observation.at(level), observation.n_B),
            memorized=memorized,
            seeds_column=f"{named}_seeds" if has_seeds else None,
            by_token=by_token,
            level=level,
        )

    return at


def _noise_norm(level: NoiseLevel) -> Signal:
    name = "noise_norm_first" if level == FIRST else f"noise_norm_{level}"
    return Signal(
        column(
            name,
            pa.float32(),
            f"L2 norm of the text-conditional noise {_where(level)} over the whole latent",
            "latent units",
            f"{_WEN}, one step" if level == FIRST else "scanner/signals/findings",
        ),
        Needs(noise=frozenset({level})),
        lambda observation: observation.at(level).noise_norm,
        memorized=1,
        seeds_column=f"{name}_seeds",
        level=level,
    )


def _cosine(level: NoiseLevel) -> Signal:
    where = "at the low-noise step, on pure noise" if level == LOW else _where(level)
    return Signal(
        column(
            "cosine_low_noise" if level == LOW else f"cosine_{level}",
            pa.float32(),
            f"cosine of the text-conditional and the unconditional score {where}, mean over the "
            "pixels",
            source=_ASTHANA,
        ),
        Needs(noise=frozenset({level})),
        lambda observation: observation.at(level).cosine,
        memorized=1,
        level=level,
    )


_ATTENTION = {
    "entropy_e": _attention(
        "entropy_e",
        pa.float32(),
        "entropy of the mean cross-attention {at} in layer 3",
        "nats",
        f"{_REN}, metric E",
        lambda forward, n_B: forward.entropies[forward.entropy_layer],
        memorized=1,
        has_seeds=True,
    ),
    "entropy_layers": _attention(
        "entropy_layers",
        FLOATS,
        "entropy of the mean cross-attention {at}, each layer in run order",
        "nats",
        _REN,
        lambda forward, n_B: forward.entropies.T,
        memorized=1,
    ),
    "bos_mass": _attention(
        "bos_mass",
        pa.float32(),
        "attention on the beginning token {at}, early layers",
        "share",
        f"{_REN}, finding 1",
        lambda forward, n_B: bos_mass(forward.early),
        memorized=-1,
    ),
    "prompt_mass": _attention(
        "prompt_mass",
        pa.float32(),
        "attention on the caption's words {at}, early layers",
        "share",
        f"{_REN}, finding 1",
        lambda forward, n_B: prompt_mass(forward.early, n_B),
        memorized=1,
    ),
    "summary_mass": _attention(
        "summary_mass",
        pa.float32(),
        "attention on the end token and the padding {at}, early layers; higher by the publication, "
        "lower for what the testbed model has memorized",
        "share",
        f"{_REN}, finding 2",
        lambda forward, n_B: summary_mass(forward.early, n_B),
        memorized=1,
    ),
    "bos_mass_layers": _attention(
        "bos_mass_layers",
        FLOATS,
        "attention on the beginning token {at}, each layer in run order",
        "share",
        _REN,
        lambda forward, n_B: bos_mass(forward.attention_NBL).T,
        memorized=-1,
    ),
    "summary_mass_layers": _attention(
        "summary_mass_layers",
        FLOATS,
        "attention on the end token and the padding {at}, each layer in run order",
        "share",
        _REN,
        lambda forward, n_B: summary_mass(forward.attention_NBL, n_B).T,
        memorized=1,
    ),
    TOKEN_MASS: _attention(
        TOKEN_MASS,
        FLOATS,
        "attention on each token {at}, early layers, from the beginning token to the end",
        "share",
        "",
        lambda forward, n_B: forward.early,
        memorized=0,
        by_token=True,
    ),
}
AT_ANY_LEVEL: dict[str, Callable[[NoiseLevel], Signal]] = {
    **_ATTENTION,
    "noise_norm": _noise_norm,
    "cosine": _cosine,
}


def _anisotropy(observation: Observation) -> Tensor:
    return anisotropy(
        observation.at(FIRST).noise_norm,
        observation.at(LOW).cosine,
        observation.alpha,
        observation.anisotropy_weights,
    )


_ALL = (
    *(make(FIRST) for make in _ATTENTION.values()),
    _noise_norm(FIRST),
    _noise_norm(LOW),
    _cosine(LOW),
    Signal(
        column(
            "anisotropy",
            pa.float32(),
            "weighted sum of the score's norm at step 0 and cosine_low_noise",
            source=_ASTHANA,
        ),
        Needs(noise=frozenset({FIRST, LOW})),
        _anisotropy,
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
        lambda observation: entropy_d(
            required(observation.trajectory).late_KBL,
            observation.at(FIRST).attention_NBL.mean(0),
            observation.n_B,
        ),
        memorized=1,
    ),
    Signal(
        column(
            "noise_norm_mean",
            pa.float32(),
            "noise norm, mean over the steps of the guided trajectory",
            "latent units",
            _WEN,
        ),
        Needs(trajectory=True),
        lambda observation: noise_norm_mean(required(observation.trajectory).differences_SBCHW),
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
        lambda observation: bright_ending(
            required(observation.trajectory).differences_SBCHW,
            required(observation.trajectory).ending_BHW,
        ),
        memorized=1,
    ),
    Signal(
        column(
            "token_gradient",
            FLOATS,
            "L2 norm of the gradient of noise_norm_first by each token's text hidden state",
            source=_WEN,
        ),
        Needs(gradient=True),
        lambda observation: required(observation.gradient_BL),
        memorized=0,
        by_token=True,
    ),
)

SIGNALS = {signal.name: signal for signal in _ALL}
