"""The signals that a guard takes from a training forward, and the denoisers that give them.

Shapes: B samples of a step, N layers, L text positions.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scanner.errors import UsageError, UserError
from scanner.models.tokens import Tokens
from scanner.signals.attention import (
    attention_entropy,
    bos_mass,
    of_text,
    prompt_mass,
    prompt_positions,
    summary_mass,
    text_share,
)

Signal = Literal[
    "entropy", "bos_mass", "prompt_mass", "summary_mass", "text_share", "loss", "noise_norm"
]
Direction = Literal["higher", "lower"]
Tokenize = Callable[[list[str]], Tokens]

ATTENTION: tuple[Signal, ...] = (
    "entropy",
    "bos_mass",
    "prompt_mass",
    "summary_mass",
    "text_share",
)
OF_WORDS: tuple[Signal, ...] = ("prompt_mass", "summary_mass")
"""Signals that need to know which text positions hold the caption's words."""
DIRECTIONS: dict[Signal, Direction] = {
    "entropy": "higher",
    "bos_mass": "lower",
    "prompt_mass": "higher",
    "summary_mass": "higher",
    "text_share": "higher",
    "loss": "lower",
    "noise_norm": "higher",
}
"""Of memorized captions, as published (scanner/signals/README.md)."""
_WITHOUT_BEGINNING = (
    "FluxTransformer2DModel",
    "ChromaTransformer2DModel",
    "QwenImageTransformer2DModel",
    "AuraFlowTransformer2DModel",
    "PixArtTransformer2DModel",
)
_PLACES = ("added_cond_kwargs", "attention_kwargs")
_UNMASKED = ("CogView4AttnProcessor",)
_ONE_SEQUENCE = ("Lumina2Transformer2DModel", "ZImageTransformer2DModel")


def check_signal(denoiser: nn.Module, signal: Signal, names: Sequence[str], joint: bool) -> None:
    """Raise UsageError if a training forward of this denoiser does not give the signal.

    ``names``: its attention layers; ``joint``: whether their attention is over text and image.
    """
    kind = type(denoiser).__name__
    if signal == "loss":
        return
    if kind in _ONE_SEQUENCE:
        raise UsageError(
            f"guard: {signal} of a {kind} is not supported, since its forward takes a list of "
            "captions without padding, each with its text at other positions; use the loss"
        )
    if signal == "noise_norm":
        return
    if not names:
        raise UsageError(
            f"guard: the attention of a {kind} is not recorded; use the loss or noise_norm"
        )
    if type(getattr(denoiser.get_submodule(names[0]), "processor", None)).__name__ in _UNMASKED:
        raise UsageError(
            f"guard: the attention of a {kind} is recorded with diffusers' "
            "CogView4TrainingAttnProcessor, which masks; set it on the attn1 of each block"
        )
    if signal == "text_share" and not joint:
        raise UsageError(
            f"guard: text_share needs joint attention, but a {kind} has cross-attention, which is "
            "on the text alone; use another signal"
        )
    if signal == "bos_mass" and kind in _WITHOUT_BEGINNING:
        raise UsageError(
            f"guard: bos_mass needs a beginning token, which the text of a {kind} lacks; use "
            "another signal"
        )


def attention_signal(
    signal: Signal,
    abar_NBL: Tensor,
    joint: bool,
    captions: Sequence[str],
    tokenize: Tokenize | None,
) -> Tensor:
    """Return a signal of the attention, averaged over the layers: (B,).

    With joint attention, of ā divided by the text's share, but for that share itself.
    """
    if signal == "text_share":
        return text_share(abar_NBL).mean(0)
    if joint:
        abar_NBL = of_text(abar_NBL)
    if signal == "entropy":
        return attention_entropy(abar_NBL).mean(0)
    if signal == "bos_mass":
        return bos_mass(abar_NBL).mean(0)
    assert tokenize is not None, "checked by the guard"
    tokens, length = tokenize(list(captions)), abar_NBL.shape[-1]
    words_BL = tokens.words_BL
    if words_BL is None:
        words_BL = prompt_positions(tokens.n_B, length)
    if words_BL.shape[1] != length:
        raise UserError(
            f"guard: tokenize gives {words_BL.shape[1]} text positions, but the forward had "
            f"{length}; pass tokenize= of the model that is trained, without trimming its text"
        )
    mass = prompt_mass if signal == "prompt_mass" else summary_mass
    return mass(abar_NBL, words_BL.to(abar_NBL.device), tokens.begins).mean(0)


def to_normal(signal: Signal, value_B: Tensor) -> Tensor:
    """Return a signal on a scale on which it is about normal: (B,).

    The logarithm of positive values, the logit of shares; entropies stay.
    """
    if signal == "entropy":
        return value_B
    if signal in ("loss", "noise_norm"):
        return value_B.clamp(min=1e-12).log()
    return torch.logit(value_B, eps=1e-6)


def difference_with(
    denoiser: nn.Module, inputs: dict[str, Tensor], args: Any, kwargs: Any, output: Any
) -> Tensor:
    """Return ‖ε_c − ε_∅‖₂, or ‖v_c − v_∅‖₂, of a training forward (B,), by one more forward.

    ``inputs``: those of the empty caption by argument name, for one row; names that the forward
    lacks are entries of its ``added_cond_kwargs`` or ``attention_kwargs``. ``args``, ``kwargs``,
    ``output``: of the training forward. Raises UsageError for names that it has no place for.
    """
    signature = inspect.signature(denoiser.forward)
    given = dict(signature.bind(*args, **kwargs).arguments)
    latents = next(iter(given.values()))
    place = next((name for name in _PLACES if name in signature.parameters), None)
    added: dict[str, Tensor] = {}
    for name, row in inputs.items():
        if name not in signature.parameters and place is None:
            raise UsageError(
                f"guard: empty= has {name}, which the forward of a {type(denoiser).__name__} does "
                "not take; name its arguments"
            )
        value = row.expand(len(latents), *row.shape[1:])
        (given if name in signature.parameters else added)[name] = value
    if place and added:
        given[place] = {**(given.get(place) or {}), **added}
    with torch.no_grad():
        empty = denoiser.forward(**given)[0]
    difference = output[0].detach().float() - empty.float()
    if difference.shape[1] == 2 * latents.shape[1]:  # with a variance, which is not part of ε
        difference = difference.chunk(2, 1)[0]
    return difference.flatten(1).norm(dim=1)
