import pytest

from scanner.scoring.text import digit_fraction, title_case_fraction


def test_controls() -> None:
    assert title_case_fraction("The Great wave of 1831") == pytest.approx(2 / 5)
    assert digit_fraction("ab12") == 0.5
    assert title_case_fraction("") == digit_fraction("") == 0.0
