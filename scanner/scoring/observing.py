"""Run a schedule's forwards for one batch of captions."""

from typing import Any

import torch

from scanner.models import Conditioning, Tokens
from scanner.scoring.forwards import Forwards
from scanner.scoring.observation import Observation
from scanner.scoring.schedule import Schedule


@torch.inference_mode()
def observe(
    forwards: Forwards, schedule: Schedule, tokens: Tokens, seeds: int
) -> list[Observation]:
    """Return one observation per seed; the text is encoded once for all of them."""
    text = forwards.model.encode(tokens, forwards.latent_shape)
    return [_at_seed(forwards, schedule, tokens, text, seed) for seed in range(seeds)]


def _at_seed(
    run: Forwards, plan: Schedule, tokens: Tokens, text: Conditioning, seed: int
) -> Observation:
    parts: dict[str, Any] = {}
    if plan.first and plan.depth is None:
        parts["unconditional"] = run.empty(seed, run.first_time)
    if plan.first:
        parts["attention_NBL"], parts["conditional"] = run.attention(text, seed, plan.depth)
    if plan.low:
        parts["low_unconditional"] = run.empty(seed, run.low_time)
        parts["low_conditional"] = run.conditional(text, seed, run.low_time)
    if plan.later_steps:
        parts["trajectory"] = run.trajectory(
            text, tokens.n_B, seed, parts["conditional"], parts["unconditional"]
        )
    if plan.gradient:
        parts["gradient_BL"] = run.gradient(text, seed)
    return Observation(
        n_B=tokens.n_B,
        early_layers=run.model.early_layers,
        entropy_layer=run.model.entropy_layer,
        alpha=run.model.alpha(run.first_time),
        anisotropy_weights=run.model.anisotropy_weights,
        **parts,
    )
