import math

import pytest
import torch

from scanner.signals.attention import (
    attention_entropy,
    beginning_mass,
    prompt_mass,
    summary_mass,
)

UNIFORM = torch.full((1, 77), 1 / 77)
ONE_HOT = torch.eye(77)[:1]


def test_entropy_of_uniform_attention_is_the_log_of_the_length() -> None:
    assert attention_entropy(UNIFORM).item() == pytest.approx(math.log(77), abs=1e-5)


def test_entropy_of_all_attention_on_one_token_is_zero_and_finite() -> None:
    assert attention_entropy(ONE_HOT).item() == 0.0


def test_entropy_is_finite_where_half_precision_underflows() -> None:
    tiny = torch.tensor([[1.0, 0.0, 6e-8]], dtype=torch.float16)
    assert torch.isfinite(attention_entropy(tiny)).all()


def test_entropy_of_two_equal_halves_is_ln_2_whatever_the_rest() -> None:
    halves = torch.tensor([[0.5, 0.0, 0.5, 0.0]])
    assert attention_entropy(halves).item() == pytest.approx(math.log(2))


def test_masses_split_the_text_at_the_beginning_and_the_first_end_token() -> None:
    abar = torch.tensor([[0.4, 0.1, 0.2, 0.25, 0.05], [0.4, 0.1, 0.2, 0.25, 0.05]])
    n = torch.tensor([4, 2])  # two words; an empty caption
    assert beginning_mass(abar).tolist() == pytest.approx([0.4, 0.4])
    assert prompt_mass(abar, n).tolist() == pytest.approx([0.3, 0.0])
    assert summary_mass(abar, n).tolist() == pytest.approx([0.3, 0.6])


def test_masses_add_up_to_one_when_the_caption_fills_the_text() -> None:
    n = torch.tensor([77])
    total = beginning_mass(UNIFORM) + prompt_mass(UNIFORM, n) + summary_mass(UNIFORM, n)
    assert total.item() == pytest.approx(1.0, abs=1e-6)
