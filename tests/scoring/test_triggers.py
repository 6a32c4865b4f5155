import numpy as np
import pytest
import torch

from scanner.models import Tokens, load_model
from scanner.scoring.triggers import TRIGGER_FIELD, TRIGGERS, trigger_column
from scanner.scoring.words import words_in

CAPTIONS = [
    "Shaw floors, ok",
    "",
    "日本の山と海 party 🎉🎉 time",
    "word " * 300,
    "The Great Wave off Kanagawa (1831), one of thirty-six views of Mount Fuji",
    "x",
]


def test_words_sum_their_tokens_and_must_exceed_the_mean() -> None:
    tokens = Tokens(
        ids_BL=torch.zeros(1, 7),
        n_B=torch.tensor([7]),
        spans=[[(0, 0), (0, 2), (2, 4), (5, 11), (11, 12), (13, 15), (0, 0)]],
        words=[[None, 0, 0, 1, 2, 3, None]],
        truncated=[False],
    )
    mass = np.array([[0.4, 0.1, 0.2, 0.15, 0.01, 0.04, 0.1]])
    (triggers,) = trigger_column(["Shaw floors, ok"], tokens, mass).to_pylist()
    assert [(word["text"], word["token_index"]) for word in triggers] == [
        ("Shaw", 2),
        ("floors", 3),
    ]
    assert triggers[0]["mass"] == pytest.approx(0.3)
    assert triggers[0]["lift"] == pytest.approx(0.3 / 0.1)


@pytest.mark.slow
def test_a_batch_has_the_trigger_words_of_each_caption() -> None:
    tokens = load_model("testbed").tokenize(CAPTIONS)
    mass = np.random.default_rng(0).random(tokens.ids_BL.shape).astype(np.float32)
    column = trigger_column(CAPTIONS, tokens, mass)
    assert column.type == TRIGGER_FIELD.type
    for row, (caption, n) in enumerate(zip(CAPTIONS, tokens.n_B.tolist(), strict=True)):
        prompt = mass[row, 1 : n - 1]
        words = {
            word: float(mass[row, list(word.positions)].sum())
            for word in words_in(tokens.spans[row], tokens.words[row], n)
        }
        expected = sorted(words, key=lambda word: -words[word])[:TRIGGERS]
        expected = [word for word in expected if words[word] >= prompt.mean()]
        triggers = column[row].as_py()
        assert [(t["start"], t["end"]) for t in triggers] == [(w.start, w.end) for w in expected]
        for trigger, word in zip(triggers, expected, strict=True):
            assert trigger["text"] == caption[word.start : word.end]
            assert trigger["token_index"] == max(word.positions, key=mass[row].__getitem__)
            assert trigger["mass"] == pytest.approx(words[word], rel=1e-6)
            assert trigger["lift"] == pytest.approx(words[word] / prompt.mean(), rel=1e-5)


@pytest.mark.slow
def test_no_captions_and_captions_without_words_have_no_triggers() -> None:
    tokens = load_model("testbed").tokenize(["", ""])
    mass = np.full(tokens.ids_BL.shape, 0.1)
    assert trigger_column(["", ""], tokens, mass).to_pylist() == [[], []]
