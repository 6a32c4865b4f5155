"""Held-out captions to compare with."""

from collections.abc import Sequence
from pathlib import Path

from scanner.captions.caption_list import read_caption_list
from scanner.captions.columns import CAPTION_NAMES

DEFAULT_CAPTIONS = Path(__file__).with_name("held_out.txt")


def read_captions(file: str) -> list[str]:
    """Read the captions of a file. Raises UserError if it cannot be read or has none."""
    return read_caption_list(file, "--band", CAPTION_NAMES[0])[1]


def pick_held_out(captions: Sequence[str], limit: int, exclude: str) -> list[str]:
    """Pick at most ``limit`` distinct captions at even intervals, never the one to ``exclude``."""
    distinct = [caption for caption in dict.fromkeys(captions) if caption != exclude]
    count = min(limit, len(distinct))
    return [distinct[number * len(distinct) // count] for number in range(count)]
