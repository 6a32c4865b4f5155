import numpy as np
import pytest

from scanner.scoring.words import triggers


def test_a_words_pieces_are_put_together_and_words_below_the_mean_left_out() -> None:
    caption = "Shaw floors, ok"
    spans = [(0, 0), (0, 2), (2, 4), (5, 11), (11, 12), (13, 15), (0, 0)]
    words = [None, 0, 0, 1, 2, 3, None]
    mass = np.array([0.4, 0.1, 0.2, 0.15, 0.01, 0.04, 0.1])
    found = triggers(caption, spans, words, mass)
    assert [(word["text"], word["token_index"]) for word in found] == [("Shaw", 2), ("floors", 3)]
    assert found[0]["mass"] == pytest.approx(0.3)
    assert found[0]["lift"] == pytest.approx(0.3 / 0.1)
