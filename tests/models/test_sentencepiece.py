"""T5 tokenizers of which only the SentencePiece file is published, as PixArt's."""

import itertools
import json
from pathlib import Path

import pytest
import sentencepiece
from transformers import T5EncoderModel

from scanner.models.families.t5 import tokenize_t5
from scanner.models.tokenizers import open_tokenizer

WORDS = ["".join(letters) for letters in itertools.product("bdglmnprstz", "aeiou", "klrstn", "aeo")]
CAPTIONS = [
    f"{article} {color} {thing} {place}"
    for article in ("a", "the", "one", *WORDS)
    for color in ("red", "green", "blue", "yellow", "old", "new")
    for thing in ("apple", "boat", "house", "painting", "flower", "engine")
    for place in ("on a table", "by the sea", "in the garden", "under a bridge")
]
OPTIONS = {"model_max_length": 512, "extra_ids": 100, "eos_token": "</s>", "pad_token": "<pad>"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tokenizer"
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS),
        model_prefix=str(folder / "spiece"),
        vocab_size=400,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "spiece.vocab").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(OPTIONS))
    return folder


def test_ids_are_those_of_sentencepiece(folder: Path) -> None:
    plain = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    captions = [*CAPTIONS[:20], "Zürich  am See, 12 €", ""]
    tokens = tokenize_t5(open_tokenizer("model", folder, T5EncoderModel), captions, 64)
    for caption, ids, n in zip(captions, tokens.ids_BL.tolist(), tokens.n_B.tolist(), strict=True):
        assert ids[:n] == [*plain.encode(caption), plain.eos_id()]
        assert set(ids[n:]) == {plain.pad_id()}
