"""The catalog of signals: column, required forwards and computation of each.

Signals of one forward on pure noise are published for the first step, or for the low-noise step.
``name@low`` and ``name@T`` ask for the same at the low-noise step or at timestep T, in the columns
name_low and name_T.

CONTRIBUTING.md says how to add a signal.
"""

import re
from collections.abc import Callable

import pyarrow as pa
from torch import Tensor

from scanner.errors import UserError
from scanner.run.schema import column
from scanner.scoring.attention_signals import ATTENTION, FLOATS, where
from scanner.scoring.derivative_signals import DERIVATIVES
from scanner.scoring.observation import Observation, Signal, required
from scanner.scoring.schedule import Needs
from scanner.scoring.seed_signals import SEEDS
from scanner.signals.attention import entropy_d
from scanner.signals.noise import anisotropy, bright_ending, noise_norm_mean, score_change
from scanner.signals.noise_level import FIRST, LOW, MID, NoiseLevel

VERSION = 1

_REN = "Ren et al. 2024 (ECCV)"
_WEN = "Wen et al. 2024 (ICLR)"
_ASTHANA = "Asthana et al. 2026 (ICLR)"
_REQUESTED = re.compile(r"(?P<name>[a-z_]+?)[@_](?P<level>low|mid|[0-9]{1,9})")


def find_signal(name: str) -> Signal:
    """Return the signal of a column, or the one asked for as ``name@low`` or ``name@T``.

    Raises UserError if there is none.
    """
    if name in SIGNALS:
        return SIGNALS[name]
    asked = _REQUESTED.fullmatch(name)
    if asked and asked["name"] in AT_ANY_LEVEL:
        named = {"low": LOW, "mid": MID}
        level = named.get(asked["level"]) or int(asked["level"])
        return AT_ANY_LEVEL[asked["name"]](level)
    raise UserError(
        f"signal {name!r}: one of {', '.join(SIGNALS)}; or, at the low-noise step, half of the "
        "training steps or a timestep T, NAME@low, NAME@mid or NAME@T with NAME one of "
        f"{', '.join(AT_ANY_LEVEL)}"
    )


def _noise_norm(level: NoiseLevel) -> Signal:
    name = "noise_norm_first" if level == FIRST else f"noise_norm_{level}"
    return Signal(
        column(
            name,
            pa.float32(),
            f"L2 norm of the text-conditional noise{_or_velocity(level)} {where(level)} over the "
            "whole latent",
            "latent units",
            f"{_WEN}, one step" if level == FIRST else "scanner/signals/findings",
        ),
        Needs(noise=frozenset({level}), traits=frozenset(() if level == FIRST else ("ddpm",))),
        lambda observation: observation.at(level).noise_norm,
        memorized=1,
        seeds_column=f"{name}_seeds",
        level=level,
    )


def _or_velocity(level: NoiseLevel) -> str:
    return " (of flow-matching models: velocity)" if level == FIRST else ""


def _velocity_norm(level: NoiseLevel) -> Signal:
    name = f"velocity_norm_{level}"
    return Signal(
        column(
            name,
            pa.float32(),
            f"L2 norm of the text-conditional velocity {where(level)} over the whole latent",
            "latent units",
            "scanner/signals/findings",
        ),
        Needs(noise=frozenset({level}), traits=frozenset({"flow_matching"})),
        lambda observation: observation.at(level).noise_norm,
        memorized=1,
        seeds_column=f"{name}_seeds",
        level=level,
    )


def _velocity_cosine(level: NoiseLevel) -> Signal:
    return Signal(
        column(
            "cosine_v_low_noise" if level == LOW else f"cosine_v_{level}",
            pa.float32(),
            f"cosine of the text-conditional and the unconditional v-prediction {where(level)}, "
            "mean over the pixels",
            source=f"{_ASTHANA}, as their code computes it for Stable Diffusion 2",
        ),
        Needs(noise=frozenset({level}), traits=frozenset({"ddpm", "v_prediction"})),
        lambda observation: observation.at(level).velocity_cosine,
        memorized=1,
        level=level,
    )


def _cosine(level: NoiseLevel) -> Signal:
    return Signal(
        column(
            "cosine_low_noise" if level == LOW else f"cosine_{level}",
            pa.float32(),
            f"cosine of the text-conditional and the unconditional score {where(level)}, mean over "
            "the pixels",
            source=_ASTHANA,
        ),
        Needs(noise=frozenset({level}), traits=frozenset({"ddpm"})),
        lambda observation: observation.at(level).cosine,
        memorized=1,
        level=level,
    )


AT_ANY_LEVEL: dict[str, Callable[[NoiseLevel], Signal]] = {
    **ATTENTION,
    "noise_norm": _noise_norm,
    "velocity_norm": _velocity_norm,
    "cosine": _cosine,
    "cosine_v": _velocity_cosine,
    **SEEDS,
}


def _anisotropy(observation: Observation) -> Tensor:
    terms, low = required(observation.anisotropy_terms), observation.at(LOW)
    return anisotropy(
        observation.at(FIRST).noise_norm,
        low.velocity_cosine if terms.of_velocity else low.cosine,
        terms.alpha,
        terms.weights,
    )


def _score_change(observation: Observation) -> Tensor:
    first = required(observation.at(FIRST).conditional)
    return score_change(first, required(observation.second_BCHW))


_ALL = (
    *(make(FIRST) for make in ATTENTION.values()),
    _noise_norm(FIRST),
    _noise_norm(LOW),
    _velocity_norm(MID),
    _cosine(LOW),
    _velocity_cosine(LOW),
    Signal(
        column(
            "anisotropy",
            pa.float32(),
            "weighted sum of the score's norm at step 0 and cosine_low_noise, or of Stable "
            "Diffusion 2 models with v-prediction, cosine_v_low_noise",
            source=_ASTHANA,
        ),
        Needs(noise=frozenset({FIRST, LOW}), traits=frozenset({"ddpm", "unet"})),
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
            observation.is_prompt_BL,
            observation.begins,
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
        Needs(trajectory=True, traits=frozenset({"end_token"})),
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
    Signal(
        column(
            "score_change",
            pa.float32(),
            "L2 norm of the change of the noise predicted with the caption from step 0 to step 1 "
            "of the guided trajectory; of flow-matching models, of the velocity",
            "latent units",
            "github.com/randomnameforicml/icml-2026 (unrefereed)",
        ),
        Needs(second_step=True, traits=frozenset({"two_steps"})),
        _score_change,
        memorized=1,
    ),
    *(make(FIRST) for make in SEEDS.values()),
    *DERIVATIVES,
)

SIGNALS = {signal.name: signal for signal in _ALL}
