"""The study's conditions: mitigation at several strengths, and single interventions at several
doses, with sham controls.

Shapes: N rows with a caption, L text positions, D channels of all heads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scanner.mitigation.edit import AttentionEdit, padding_bias, scale_bos
from scanner.mitigation.prompt_hook import PromptRows


@dataclass(frozen=True)
class Condition:
    """One intervention on cross-attention, applied in every layer and step.

    ``target`` is one of:

    - none: no intervention.
    - mitigation: multiply the BOS token's logit by ``dose``; ``mask`` also hides the padding.
    - beginning: multiply the BOS token's logit by ``dose``.
    - triggers: add ``dose`` to the logits of the quarter of the prompt's tokens with the most
      attention, which multiplies their odds by exp(dose).
    - padding: add ``dose`` to the logits of the positions after the end token, in both halves of
      the guidance batch.
    - beginning sham: change the key of a random prompt token by the same norm by which ``dose``
      changes the BOS token's key.
    - triggers sham: add ``dose`` to the logits of as many random other prompt tokens.

    The published tables use these names. ``beginning`` is the BOS token; ``triggers`` are tokens by
    attention alone, chosen per caption, not the trigger words of the scores.
    """

    target: str
    dose: float = 1.0
    mask: bool = False

    @property
    def name(self) -> str:
        mask = " masked" if self.mask else ""
        return "none" if self.target == "none" else f"{self.target} {self.dose:g}{mask}"


NONE = Condition("none")
MITIGATIONS = (
    Condition("mitigation", 1.0, True),
    *(
        Condition("mitigation", factor, mask)
        for factor in (1.25, 1.5, 2.0, 2.5, 3.0)
        for mask in (False, True)
    ),
)
FACTORS = (0.25, 0.5, 1.5, 2.0, 2.5, 3.0)
BIASES = (-4.0, -2.0, -1.0, 1.0, 2.0)
DOSES = (
    *(Condition(target, dose) for dose in FACTORS for target in ("beginning", "beginning sham")),
    *(Condition(target, dose) for dose in BIASES for target in ("triggers", "triggers sham")),
    *(Condition("padding", dose) for dose in (float("-inf"), -2.0, -1.0, 1.0, 2.0)),
)


@dataclass(frozen=True)
class TokenPositions:
    """Token positions per caption: the ``top`` quarter of its prompt tokens by attention, as many
    random other tokens, and one random prompt token."""

    top: list[list[int]]
    others: list[list[int]]
    random_token: list[int]


def choose_positions(token_mass: list[list[float]], seed: int) -> TokenPositions:
    """Choose the positions to intervene on.

    ``token_mass``: per caption, ā at positions 0 … n−1 of the first step without intervention.
    """
    top, others, random_token = [], [], []
    for number, mass in enumerate(token_mass):
        random = np.random.default_rng([seed, number])
        prompt = np.arange(1, len(mass) - 1)
        by_mass = prompt[np.argsort(-np.asarray(mass)[prompt], kind="stable")]
        count = max(1, round(len(prompt) / 4))
        top.append(by_mass[:count].tolist())
        rest = by_mass[count:]
        others.append(random.permutation(rest)[:count].tolist())
        random_token.append(int(random.choice(prompt)))
    return TokenPositions(top, others, random_token)


def make_edit(
    condition: Condition, positions: TokenPositions
) -> Callable[[PromptRows], AttentionEdit]:
    """Return the attention edit for a batch of the captions of ``positions``, one image each."""

    def build(rows: PromptRows) -> AttentionEdit:
        assert rows.n_N is not None
        dose, target = condition.dose, condition.target
        padding_NL = padding_bias(rows.n_N, rows.length)
        if target in ("mitigation", "beginning"):
            bias_NL = padding_NL if condition.mask else None
            return AttentionEdit(rows.count, bias_NL, bias_NL, lambda k: scale_bos(k, dose))
        if target == "beginning sham":
            token_N = torch.tensor(positions.random_token)
            return AttentionEdit(rows.count, key=lambda k: _change_by_same_norm(k, token_N, dose))
        if target == "padding":
            bias_NL = torch.where(padding_NL.isneginf(), dose, 0.0)
            return AttentionEdit(rows.count, bias_NL, bias_NL)
        chosen = positions.top if target == "triggers" else positions.others
        bias_NL = torch.zeros(rows.count, rows.length)
        for row, tokens in enumerate(chosen):
            bias_NL[row, tokens] = dose
        return AttentionEdit(rows.count, bias_NL)

    return build


def _change_by_same_norm(key_NLD: Tensor, position_N: Tensor, factor: float) -> Tensor:
    """Change each token's key by the norm by which ``factor`` changes the BOS token's key."""
    rows = torch.arange(len(key_NLD))
    mine_ND, first_ND = key_NLD[rows, position_N], key_NLD[:, 0]
    ratio_N1 = first_ND.norm(dim=1, keepdim=True) / mine_ND.norm(dim=1, keepdim=True)
    changed_NLD = key_NLD.clone()
    changed_NLD[rows, position_N] = mine_ND * (1 + (factor - 1) * ratio_N1)
    return changed_NLD
