import math

import pytest
import torch

from scanner.signals.attention import (
    attention_entropy,
    bos_mass,
    prompt_mass,
    prompt_positions,
    summary_mass,
)

UNIFORM = torch.full((1, 77), 1 / 77)
ONE_HOT = torch.eye(77)[:1]


def test_entropy_of_uniform_attention_is_ln_of_its_length() -> None:
    assert attention_entropy(UNIFORM).item() == pytest.approx(math.log(77), abs=1e-5)


def test_entropy_of_attention_on_one_token_is_zero() -> None:
    assert attention_entropy(ONE_HOT).item() == 0.0


def test_entropy_is_finite_when_float16_underflows() -> None:
    tiny = torch.tensor([[1.0, 0.0, 6e-8]], dtype=torch.float16)
    assert torch.isfinite(attention_entropy(tiny)).all()


def test_entropy_of_two_equal_masses_is_ln_2() -> None:
    halves = torch.tensor([[0.5, 0.0, 0.5, 0.0]])
    assert attention_entropy(halves).item() == pytest.approx(math.log(2))


def test_masses_split_the_text_at_bos_and_the_first_eos() -> None:
    abar = torch.tensor([[0.4, 0.1, 0.2, 0.25, 0.05], [0.4, 0.1, 0.2, 0.25, 0.05]])
    is_prompt = prompt_positions(torch.tensor([4, 2]), 5)  # two words; an empty caption
    assert bos_mass(abar).tolist() == pytest.approx([0.4, 0.4])
    assert prompt_mass(abar, is_prompt).tolist() == pytest.approx([0.3, 0.0])
    assert summary_mass(abar, is_prompt).tolist() == pytest.approx([0.3, 0.6])


def test_masses_sum_to_one_for_a_full_caption() -> None:
    is_prompt = prompt_positions(torch.tensor([77]), 77)
    masses = (prompt_mass(UNIFORM, is_prompt), summary_mass(UNIFORM, is_prompt))
    total = bos_mass(UNIFORM) + sum(masses)
    assert total.item() == pytest.approx(1.0, abs=1e-6)
