"""Load a model's tokenizers, and check that they match its text encoders."""

import json
from pathlib import Path
from typing import Any

from transformers import (
    CLIPTextConfig,
    CLIPTokenizer,
    Gemma2Model,
    GemmaTokenizer,
    GlmModel,
    LlamaTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Model,
    T5EncoderModel,
    T5TokenizerFast,
    UMT5EncoderModel,
)

from scanner.models.files.names import model_error
from scanner.models.files.opening import AGAIN, opening, read_json, refuse_pointer

WHOLE = "tokenizer.json"
VOCABULARY = ("vocab.json", "merges.txt")
SENTENCEPIECE = {
    T5TokenizerFast: "spiece.model",
    GemmaTokenizer: "tokenizer.model",
    LlamaTokenizer: "tokenizer.model",
}
"""Vocabularies from which a tokenizer is built if WHOLE is missing."""
OPTIONS = "tokenizer_config.json"
PROBES = ("The CAT's  toy, n° 7!", "e\u0301té 東京 🙂\t12.5", "<|endoftext|> snake_case-word")
_KINDS: dict[type[Any], type[Any]] = {
    T5EncoderModel: T5TokenizerFast,
    UMT5EncoderModel: LlamaTokenizer,  # of AuraFlow
    Gemma2Model: GemmaTokenizer,
    Qwen2_5_VLForConditionalGeneration: Qwen2Tokenizer,
    Qwen3Model: Qwen2Tokenizer,
    GlmModel: PreTrainedTokenizerFast,
}
"""Tokenizers by text encoder; CLIP's otherwise."""
LETTERS = 256
"""Byte-level BPE has at least one token per byte."""


def open_tokenizer(
    name: str, folder: Path, encoder: type[Any] | None = None
) -> PreTrainedTokenizerFast:
    """Load a tokenizer. Raises UserError if its files are missing, damaged or incomplete.

    ``encoder``: the class of the text encoder that reads its tokens, by default one of CLIP.
    """
    part = folder.name
    kind = _KINDS.get(encoder, CLIPTokenizer) if encoder else CLIPTokenizer
    if not folder.is_dir():
        raise model_error(name, f"{part}/: missing; {AGAIN}")
    _refuse_damage(name, folder)
    if not (folder / WHOLE).exists():
        pieces = SENTENCEPIECE.get(kind)
        for file in (pieces,) if pieces else VOCABULARY:
            if not (folder / file).exists():
                raise model_error(
                    name, f"{part}/{file}: missing, as is {part}/{WHOLE}; copy the tokenizer again"
                )
    with opening(name, f"{part}/"):
        tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if len(tokenizer) < LETTERS:
        raise model_error(
            name, f"{part}/: a vocabulary of {len(tokenizer)} tokens is incomplete; {AGAIN}"
        )
    return tokenizer


def refuse_other_tokenizer(
    name: str,
    tokenizer: PreTrainedTokenizerFast,
    part: str,
    encoder: str,
    config: PretrainedConfig,
) -> None:
    """Raise UserError if a tokenizer does not match its text encoder.

    ``part``: the tokenizer's name; ``encoder``, ``config``: name and configuration of the encoder.
    """
    length = tokenizer.model_max_length
    positions = getattr(config, "max_position_embeddings", None)  # T5's are relative
    is_clip = isinstance(config, CLIPTextConfig)  # others are cut to a family's own length
    if (
        is_clip
        and positions is not None
        and not (isinstance(length, int) and 2 < length <= positions)
    ):
        # transformers uses a huge number if the file has none.
        none = isinstance(length, int) and length > 10**9
        said = "no model_max_length" if none else f"model_max_length {length!r}"
        raise model_error(
            name,
            f"{part}/{OPTIONS}: {said}, but {encoder} reads {positions} tokens; set "
            f'"model_max_length": {positions}',
        )
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise model_error(
            name,
            f"{part}/: token ids reach {largest}, but {encoder}/config.json has vocab_size "
            f"{config.vocab_size}; use the tokenizer and text encoder of the same model",
        )


def tokenization_rules(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return everything that maps captions to token ids, for the model's hash.

    Normalization and splitting are represented by the ids of a few probes, since library versions
    serialize the same rules differently.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = backend["model"].get("merges", [])
    scores = {"scores": backend["model"]["vocab"]} if backend["model"]["type"] == "Unigram" else {}
    return {
        **scores,
        "vocabulary": tokenizer.get_vocab(),
        "merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in merges],
        "added": sorted((token["id"], token["content"]) for token in backend["added_tokens"]),
        "length": tokenizer.model_max_length,
        "special": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
        "probes": [tokenizer(probe)["input_ids"] for probe in PROBES],
    }


def _refuse_damage(name: str, folder: Path) -> None:
    for file in (WHOLE, OPTIONS, *VOCABULARY, *SENTENCEPIECE.values()):
        path, place = folder / file, f"{folder.name}/{file}"
        if path.suffix == ".json" and path.exists():
            read_json(name, path, place)
        elif path.exists():
            refuse_pointer(name, path, place)
