"""Captions that no model was trained on, to compare with."""

from collections.abc import Sequence
from pathlib import Path

from scanner.captions.caption_list import read_caption_list
from scanner.captions.columns import CAPTION_NAMES

PLAIN = Path(__file__).with_name("held_out.txt")


def read_captions(file: str) -> list[str]:
    """The captions of a file. Raises UserError where it cannot be read or holds none."""
    return read_caption_list(file, "--band", CAPTION_NAMES[0])[1]


def spread(captions: Sequence[str], most: int, without: str) -> list[str]:
    """At most so many distinct captions, evenly spread over the list; never the one ``without``."""
    distinct = [caption for caption in dict.fromkeys(captions) if caption != without]
    count = min(most, len(distinct))
    return [distinct[number * len(distinct) // count] for number in range(count)]
