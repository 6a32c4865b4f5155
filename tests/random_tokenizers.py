"""Tokenizers of language models' kinds, with letters or bytes and a few words."""

from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import GemmaTokenizer, LlamaTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer


def make_qwen_tokenizer() -> Qwen2Tokenizer:
    """Qwen's kind of tokenizer, with bytes and a few words."""
    tokenizer = Qwen2Tokenizer(**_byte_pieces())
    special = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    tokenizer.add_special_tokens(special)
    return tokenizer


def make_glm_tokenizer() -> PreTrainedTokenizerFast:
    """GLM's kind of tokenizer: two beginning tokens, no end token, padding on the left."""
    backend = Tokenizer(BPE(**_byte_pieces()))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    special = ["<|endoftext|>", "[gMASK]", "<sop>"]
    backend.add_special_tokens(special)
    numbers = [(token, backend.token_to_id(token)) for token in special[1:]]
    backend.post_processor = TemplateProcessing(single="[gMASK] <sop> $A", special_tokens=numbers)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=special[0],
        eos_token=special[0],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )


def _byte_pieces() -> dict[str, Any]:
    merges = ["r e", "re d", "Ġ red", "a p", "ap p", "app l", "appl e", "Ġ apple"]
    pieces = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)]
    return {
        "vocab": {piece: number for number, piece in enumerate(pieces)},
        "merges": [tuple(merge.split()) for merge in merges],
    }


def make_gemma_tokenizer() -> GemmaTokenizer:
    """Gemma's kind of tokenizer, with letters, bytes and a few words."""
    special = "<pad>", "<eos>", "<bos>", "<unk>", "<mask>"
    return GemmaTokenizer(**_pieces(*special), add_bos_token=True)


def make_llama_tokenizer() -> LlamaTokenizer:
    """AuraFlow's kind of tokenizer, with an end token and no beginning token."""
    return LlamaTokenizer(
        **_pieces("<unk>", "<s>", "</s>"), pad_token="<s>", add_bos_token=False, add_eos_token=True
    )


def _pieces(*special: str) -> dict[str, Any]:
    letters = [chr(code) for code in range(33, 0x180) if chr(code).isprintable()]
    merges = ["r e", "re d", "▁ red", "a p", "ap p", "app l", "appl e", "▁ apple"]
    pieces = [*special, "▁", *letters]
    pieces += [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [merge.replace(" ", "") for merge in merges]
    return {
        "vocab": {piece: number for number, piece in enumerate(pieces)},
        "merges": [tuple(merge.split()) for merge in merges],
    }
