"""Swapped words are whole words, near in the token embeddings, and read as one token."""

import pytest
import torch

from scanner.mitigation.adversary.token_swaps import Vocabulary, candidates, search_swaps
from scanner.models import DiffusionModel, load_model

CAPTION = "Download the retro ship png, for your bag 12"


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return load_model("testbed", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def vocabulary(model: DiffusionModel) -> Vocabulary:
    return Vocabulary(model.tokenizer, model.text_encoders["text_encoder"])


def test_candidates_replace_whole_words(model: DiffusionModel, vocabulary: Vocabulary) -> None:
    found = candidates(CAPTION, model.tokenize([CAPTION]), vocabulary, 3, frozenset())
    # retro and png are two tokens each, and 12 is no word.
    assert {CAPTION[swap.start : swap.end] for swap in found} == {
        *("Download", "the", "ship", "for", "your", "bag"),
    }  # fmt: skip
    assert all(swap.word.isalpha() for swap in found)
    similarities = [swap.similarity for swap in found]
    assert similarities == sorted(similarities, reverse=True)
    swap = next(swap for swap in found if swap.start == 0)
    assert swap.apply(CAPTION) == swap.word.capitalize() + CAPTION[len("Download") :]


def test_neighbors_are_those_of_a_plain_search(
    model: DiffusionModel, vocabulary: Vocabulary
) -> None:
    token = model.tokenizer.convert_tokens_to_ids("ship</w>")
    table = model.text_encoders["text_encoder"].get_input_embeddings().weight
    similarity = torch.nn.functional.cosine_similarity(table, table[token][None])
    words = [
        number
        for number in similarity.argsort(descending=True).tolist()
        if model.tokenizer.convert_ids_to_tokens(number).removesuffix("</w>").isalpha()
        and model.tokenizer.convert_ids_to_tokens(number).isascii()
        and model.tokenizer.convert_ids_to_tokens(number).endswith("</w>")
    ]
    near = [model.tokenizer.convert_ids_to_tokens(number)[:-4] for number in words[1:4]]
    assert [word for word, _ in vocabulary.nearest(token, 3)] == near


def test_swaps_are_greedy_and_change_another_word_each(
    model: DiffusionModel, vocabulary: Vocabulary
) -> None:
    tried: list[list[str]] = []

    def errors(captions: list[str]) -> torch.Tensor:
        tried.append(captions)
        start = 0.9 if len(tried) == 1 else 0.8
        return torch.tensor([start + number / 100 for number in range(len(captions))])

    found = search_swaps(model, CAPTION, vocabulary, errors, 2, 2, 5)
    assert found == (tried[1][0], pytest.approx(0.8))
    assert [len(captions) <= 5 for captions in tried] == [True, True]
    ids, first, second = (
        model.tokenize([text]).ids_BL for text in (CAPTION, tried[0][0], found[0])
    )
    assert int((ids != first).sum()) == 1
    assert int((ids != second).sum()) == 2


def test_no_swap_is_kept_that_does_not_lower_the_error(
    model: DiffusionModel, vocabulary: Vocabulary
) -> None:
    def errors(captions: list[str]) -> torch.Tensor:
        return torch.ones(len(captions))

    assert search_swaps(model, CAPTION, vocabulary, errors, 2, 2, 9) is None
    assert search_swaps(model, "12, 34!", vocabulary, errors, 2, 2, 9) is None
