"""Run a schedule's forwards for one batch of captions."""

from typing import Any

import torch
from torch import Tensor

from scanner.models import Conditioning, Tokens
from scanner.models.noise_process import Timestep
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
        time: _on_noise(run, text, seed, time, depth) for time, depth in plan.on_noise.items()
    }
    parts: dict[str, Any] = {}
    if plan.later_steps:
        first = on_noise[run.first_time]
        parts["trajectory"] = run.trajectory(
            text, tokens.n_B, seed, required(first.conditional), required(first.unconditional)
        )
    if plan.gradient:
        parts["gradient_BL"] = run.gradient(text, seed)
    return Observation(
        is_prompt_BL=_is_prompt(tokens, text.hidden_BLC.shape[1]),
        on_noise=on_noise,
        timesteps=plan.timesteps,
        anisotropy_terms=run.anisotropy_terms,
        begins=tokens.begins,
        **parts,
    )


def _on_noise(
    run: Forwards, text: Conditioning, seed: int, time: Timestep, depth: int | None
) -> OnNoise:
    unconditional = run.empty(seed, time) if depth is None else None
    attention_NBL, conditional = run.on_noise(text, seed, time, depth)
    share_NB = text_share(attention_NBL) if run.model.has_joint_attention else None
    if share_NB is not None:
        attention_NBL = of_text(attention_NBL)
    return OnNoise(
        run.model.early_layers,
        run.model.entropy_layer,
        attention_NBL,
        conditional,
        unconditional,
        share_NB,
    )


def _is_prompt(tokens: Tokens, length: int) -> Tensor:
    return prompt_positions(tokens.n_B, length) if tokens.words_BL is None else tokens.words_BL
