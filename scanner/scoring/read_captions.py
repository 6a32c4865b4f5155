"""Check and tokenize captions, the first step of scoring them."""

from dataclasses import dataclass

from scanner.captions.identity import caption_id
from scanner.captions.limits import OVER, is_over
from scanner.models import DiffusionModel, Tokens, canonical


@dataclass(frozen=True)
class ReadCaptions:
    """Captions and their tokens (None if there are no captions)."""

    captions: list[str]
    ids: list[str]
    tokens: Tokens | None


def tokenize_captions(
    model: DiffusionModel, captions: list[str], ids: list[str] | None = None
) -> ReadCaptions:
    """Tokenize captions. ``ids``: their caption ids, computed if None.

    Raises TypeError if a caption is not a str, ValueError if it exceeds the size limit.
    """
    if isinstance(captions, str):
        raise TypeError(f"captions must be a list of str, got str {captions!r}: pass [caption]")
    for number, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise TypeError(
                f"captions[{number}] must be str, got {type(caption).__name__}: remove it"
            )
        if is_over(caption):
            raise ValueError(f"captions[{number}] is {OVER}: remove or shorten it")
    if ids is None:
        ids = [caption_id(canonical(model.canonical_tokenizer, caption)) for caption in captions]
    return ReadCaptions(captions, ids, model.tokenize(captions) if captions else None)
