"""The signals of the attention to the text in one forward on pure noise, at any noise level."""

from collections.abc import Callable

import pyarrow as pa
from torch import Tensor

from scanner.models.traits import Trait
from scanner.run.schema import column
from scanner.scoring.observation import Observation, OnNoise, Signal, required
from scanner.scoring.schedule import Needs
from scanner.signals.attention import bos_mass, prompt_mass, summary_mass
from scanner.signals.noise_level import FIRST, LOW, MID, NoiseLevel

FLOATS = pa.list_(pa.float32())
TOKEN_MASS = "token_mass"

# The low-noise step is of a DDPM's schedule; its counterpart is σ = 0.5 of flow matching.
LEVEL_TRAITS: dict[NoiseLevel, tuple[Trait, ...]] = {LOW: ("ddpm",), MID: ("flow_matching",)}
_REN = "Ren et al. 2024 (ECCV)"
_FINDINGS = "scanner/signals/findings"


def attention_needs(level: NoiseLevel, *traits: Trait) -> Needs:
    """Return the needs of a signal of the early layers' attention."""
    return Needs(attention=frozenset({level}), traits=frozenset(traits))


def where(level: NoiseLevel) -> str:
    if level == FIRST:
        return "at step 0"
    if level == LOW:
        return "on pure noise at the low-noise step"
    if level == MID:
        return "on pure noise at σ = 0.5"
    return f"on pure noise at timestep {level}"


def _attention(
    name: str,
    kind: pa.DataType,
    description: str,
    unit: str,
    source: str,
    compute: Callable[[OnNoise, Observation], Tensor],
    memorized: int,
    has_seeds: bool = False,
    by_token: bool = False,
    traits: tuple[Trait, ...] = (),
) -> Callable[[NoiseLevel], Signal]:
    """Return what makes an attention signal for a noise level. ``description``: with {at};
    ``compute``: from the forward and the observation that it is of; the published direction,
    ``memorized``, is for the first step."""

    def at(level: NoiseLevel) -> Signal:
        named = name if level == FIRST else f"{name}_{level}"
        described = description.format(at=where(level))
        if memorized and level != FIRST:
            described += "; its direction was published for step 0"
        return Signal(
            column(named, kind, described, unit, source),
            attention_needs(level, *traits, *LEVEL_TRAITS.get(level, ())),
            lambda observation: compute(observation.at(level), observation),
            memorized=memorized,
            seeds_column=f"{named}_seeds" if has_seeds else None,
            by_token=by_token,
            level=level,
        )

    return at


ATTENTION = {
    "entropy_e": _attention(
        "entropy_e",
        pa.float32(),
        "entropy of the mean attention on the text {at} in the last early layer (U-Nets: layer 3)",
        "nats",
        f"{_REN}, metric E",
        lambda forward, text: forward.entropies[forward.entropy_layer],
        memorized=1,
        has_seeds=True,
    ),
    "entropy_layers": _attention(
        "entropy_layers",
        FLOATS,
        "entropy of the mean attention on the text {at}, each layer in run order",
        "nats",
        _REN,
        lambda forward, text: forward.entropies.T,
        memorized=1,
    ),
    "bos_mass": _attention(
        "bos_mass",
        pa.float32(),
        "attention on the beginning token {at}, early layers",
        "share",
        f"{_REN}, finding 1",
        lambda forward, text: bos_mass(forward.early),
        memorized=-1,
        traits=("beginning_token",),
    ),
    "prompt_mass": _attention(
        "prompt_mass",
        pa.float32(),
        "attention on the caption's words {at}, early layers",
        "share",
        f"{_REN}, finding 1",
        lambda forward, text: prompt_mass(forward.early, text.is_prompt_BL, text.begins),
        memorized=1,
    ),
    "summary_mass": _attention(
        "summary_mass",
        pa.float32(),
        "attention on the end token and the padding {at}, early layers; higher by the publication, "
        "lower for what the testbed model has memorized",
        "share",
        f"{_REN}, finding 2",
        lambda forward, text: summary_mass(forward.early, text.is_prompt_BL, text.begins),
        memorized=1,
    ),
    "bos_mass_layers": _attention(
        "bos_mass_layers",
        FLOATS,
        "attention on the beginning token {at}, each layer in run order",
        "share",
        _REN,
        lambda forward, text: bos_mass(forward.attention_NBL).T,
        memorized=-1,
        traits=("beginning_token",),
    ),
    "summary_mass_layers": _attention(
        "summary_mass_layers",
        FLOATS,
        "attention on the end token and the padding {at}, each layer in run order",
        "share",
        _REN,
        lambda forward, text: summary_mass(forward.attention_NBL, text.is_prompt_BL, text.begins).T,
        memorized=1,
    ),
    "text_share": _attention(
        "text_share",
        pa.float32(),
        "the text's share of the image's attention {at}, early layers",
        "share",
        _FINDINGS,
        lambda forward, text: forward.early_share,
        memorized=1,
        traits=("joint_attention",),
    ),
    "text_share_layers": _attention(
        "text_share_layers",
        FLOATS,
        "the text's share of the image's attention {at}, each layer in run order",
        "share",
        _FINDINGS,
        lambda forward, text: required(forward.text_share_NB).T,
        memorized=1,
        traits=("joint_attention",),
    ),
    TOKEN_MASS: _attention(
        TOKEN_MASS,
        FLOATS,
        "attention on each token {at}, early layers, from the first token to the end token",
        "share",
        "",
        lambda forward, text: forward.early,
        memorized=0,
        by_token=True,
    ),
}
