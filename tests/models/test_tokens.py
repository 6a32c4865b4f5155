from pathlib import Path

import pytest

from scanner.models import canonical, find_model, load_tokenizer
from scanner.models.tokens import tokenize


@pytest.fixture(scope="module")
def sd1(random_models: dict[str, Path]):
    return load_tokenizer(find_model(str(random_models["sd1"])))


@pytest.fixture(scope="module")
def sd2(random_models: dict[str, Path]):
    return load_tokenizer(find_model(str(random_models["sd2"])))


def test_token_count_includes_beginning_and_end(sd1) -> None:
    assert tokenize(sd1, ["a cat", ""]).n_B.tolist() == [4, 2]


def test_padding_that_is_not_the_end_token_does_not_count(sd2) -> None:
    tokens = tokenize(sd2, ["a cat"])
    assert tokens.n_B.tolist() == [4]
    assert tokens.ids_BL[0, 5].item() != sd2.eos_token_id


def test_an_end_token_spelt_out_in_a_caption_ends_it(sd1) -> None:
    assert tokenize(sd1, ["a <|endoftext|> cat"]).n_B.tolist() == [3]


def test_long_captions_are_truncated_and_marked(sd1) -> None:
    tokens = tokenize(sd1, ["word " * 2000, "word " * 75])
    assert tokens.n_B.tolist() == [77, 77]
    assert tokens.truncated == [True, False]


@pytest.mark.parametrize("caption", ["Big  Red\tÉlan!", "日本の 山", "smile 😀😀 twice", "naïve"])
def test_spans_point_into_the_original_caption(sd1, caption: str) -> None:
    tokens = tokenize(sd1, [caption])
    spans = tokens.spans[0][1 : tokens.n_B[0] - 1]
    assert all(caption[start:end].strip() for start, end in spans)
    covered = {i for start, end in spans for i in range(start, end)}
    assert {i for i, letter in enumerate(caption) if not letter.isspace()} == covered


def test_captions_with_equal_tokens_share_one_canonical_text(sd1) -> None:
    assert canonical(sd1, "  A  Cat\n") == canonical(sd1, "a cat") == "a cat"
    assert canonical(sd1, "a cat.") != canonical(sd1, "a cat")
    for other in ("  A  Cat\n", "a cat"):
        assert tokenize(sd1, [other]).ids_BL.equal(tokenize(sd1, ["A cat"]).ids_BL)
