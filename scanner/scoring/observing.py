"""Run a schedule's forwards for one batch of captions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scanner.models import Conditioning, Tokens
from scanner.models.noise_process import Timestep
from scanner.scoring.derivatives import StepDerivatives
from scanner.scoring.forwards import Forwards
from scanner.scoring.observation import Observation, OnNoise, required
from scanner.scoring.schedule import Schedule
from scanner.signals.attention import of_text, prompt_positions, text_share


@torch.inference_mode()
def observe(
    forwards: Forwards,
    schedule: Schedule,
    tokens: Tokens,
    seeds: int,
    text: Conditioning | None = None,
) -> list[Observation]:
    """Return one observation per seed. ``text``: the encoded tokens, encoded here if None, once for
    all seeds."""
    text = text or forwards.model.encode(tokens, forwards.latent_shape)
    return [_at_seed(forwards, schedule, tokens, text, seed) for seed in range(seeds)]


def _at_seed(
    run: Forwards, plan: Schedule, tokens: Tokens, text: Conditioning, seed: int
) -> Observation:
    on_noise = {
        time: _on_noise(run, plan, text, seed, time, depth) for time, depth in plan.on_noise.items()
    }
    parts: dict[str, Any] = {}
    if plan.later_steps or plan.second_step:
        first = on_noise[run.first_time]
        pair = required(first.conditional), required(first.unconditional)
        if plan.later_steps:
            parts["trajectory"] = run.trajectory(text, tokens.n_B, seed, *pair)
            parts["second_BCHW"] = parts["trajectory"].second_BCHW
        else:
            parts["second_BCHW"] = run.second_step(text, seed, *pair)
    if plan.gradient:
        parts["gradient_BL"] = run.gradient(text, seed)
    if plan.derivatives:
        parts["derivatives"] = _derivatives(run, plan, text, seed, on_noise)
    return Observation(
        is_prompt_BL=_is_prompt(tokens, text.hidden_BLC.shape[1]),
        on_noise=on_noise,
        timesteps=plan.timesteps,
        anisotropy_terms=run.anisotropy_terms,
        begins=tokens.begins,
        **parts,
    )


def _derivatives(
    run: Forwards,
    plan: Schedule,
    text: Conditioning,
    seed: int,
    on_noise: Mapping[float, OnNoise],
) -> StepDerivatives:
    parts: dict[str, Any] = {}
    if "along_difference" in plan.derivatives:
        first = on_noise[run.first_time]
        difference_BCHW = required(first.conditional) - required(first.unconditional)
        parts["along_difference"] = run.along_difference(text, seed, difference_BCHW)
    if "along_text" in plan.derivatives:
        parts["along_text"] = run.along_text(text, seed)
    if "gradients" in plan.derivatives:
        parts["gradients"] = run.gradients(text, seed)
    return StepDerivatives(**parts)


def _on_noise(
    run: Forwards, plan: Schedule, text: Conditioning, seed: int, time: Timestep, depth: int | None
) -> OnNoise:
    unconditional = run.empty(seed, time) if time in plan.unconditional else None
    attention_NBL, conditional = run.on_noise(text, seed, time, depth)
    share_NB = text_share(attention_NBL) if run.model.has_joint_attention else None
    if share_NB is not None:
        attention_NBL = of_text(attention_NBL)
    return OnNoise(
        run.model.early_layers,
        run.model.entropy_layer,
        run.initial_noise(seed),
        run.alpha(time),
        attention_NBL,
        conditional,
        unconditional,
        share_NB,
    )


def _is_prompt(tokens: Tokens, length: int) -> Tensor:
    return prompt_positions(tokens.n_B, length) if tokens.words_BL is None else tokens.words_BL
