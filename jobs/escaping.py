"""What a terminal is shown: text in which nothing steers it.

Captions, keys, file names, errors of servers and records of runs are untrusted, and a terminal
obeys what is in them: colours, titles, moves of the cursor, letters from right to left.
"""

import json
import unicodedata
from typing import Any


def printable(text: str) -> str:
    """Return one line: a control, format or line-break character becomes its escape (``\\x1b``).

    So do bidirectional marks, zero-width characters, byte order marks and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else _escape(letter) for letter in text)


def escaped(text: str) -> str:
    """Return text of several lines as :func:`printable` does, with its line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(
        letter if _is_shown(letter) or letter in "\n\t" else _escape(letter) for letter in text
    )


def json_text(record: Any, ascii_only: bool = False, indent: int | None = 1, **options: Any) -> str:
    """Return JSON that any terminal can show: the same values, with what could steer it escaped."""
    text = json.dumps(record, indent=indent, ensure_ascii=ascii_only, default=str, **options)
    if text.isascii() and "\x7f" not in text:
        return text
    # Outside of strings, where an escape means the same, JSON is ASCII.
    return "".join(
        letter if _is_shown(letter) or letter == "\n" else _json_escape(letter) for letter in text
    )


def _is_shown(letter: str) -> bool:
    """Spaces of all widths are shown, as Python's isprintable does not say."""
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _json_escape(letter: str) -> str:
    return json.dumps(letter)[1:-1] if letter != "\x7f" else "\\u007f"
