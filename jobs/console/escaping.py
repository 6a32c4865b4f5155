"""Escape control characters in text for a terminal.

Captions, keys, file names, server errors and run records are untrusted. Unescaped, they could
change a terminal's colors, title, cursor position or text direction.
"""

import json
import unicodedata
from typing import Any


def printable(text: str) -> str:
    """Return text as one line, with control, format and line-break characters escaped (``\\x1b``).

    This includes bidirectional marks, zero-width characters, byte order marks and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else _escape(letter) for letter in text)


def escaped(text: str) -> str:
    """Return text escaped as by :func:`printable`, but with its line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(
        letter if _is_shown(letter) or letter in "\n\t" else _escape(letter) for letter in text
    )


def json_text(record: Any, ascii_only: bool = False, indent: int | None = 1, **options: Any) -> str:
    """Return JSON of the same values that is safe to print: control characters are escaped."""
    text = json.dumps(record, indent=indent, ensure_ascii=ascii_only, default=str, **options)
    if text.isascii() and "\x7f" not in text:
        return text
    # Non-ASCII characters occur only in strings, where an escape is equivalent.
    return "".join(
        letter if _is_shown(letter) or letter == "\n" else _json_escape(letter) for letter in text
    )


def _is_shown(letter: str) -> bool:
    """Return whether a terminal shows a character; unlike isprintable, includes all spaces."""
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _json_escape(letter: str) -> str:
    return json.dumps(letter)[1:-1] if letter != "\x7f" else "\\u007f"
