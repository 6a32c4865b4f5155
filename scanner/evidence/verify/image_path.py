"""Where a training image is, by a template over a sample's columns; the values are untrusted."""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from scanner.errors import UsageError
from scanner.storage import why_unsafe

WEB = ("http://", "https://")


class UnsafeValue(ValueError):
    """A value that would lead elsewhere than the template says."""


def names_of(template: str) -> list[str]:
    """The columns that a template names. Raises UsageError unless it is text and plain names."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"--images {template}: {error}") from error
    names = [name for _, name, _, _ in parts if name is not None]
    for _, name, form, conversion in parts:
        if name is not None and (not re.fullmatch(r"\w+", name) or form or conversion):
            raise UsageError(f"--images {template}: only plain column names go into the braces")
    starts = bool(parts) and not parts[0][0]
    if names and starts and template != f"{{{names[0]}}}":
        raise UsageError(
            f"--images {template}: begins with a column, whose value would name the store; write "
            "the store first, as in s3://bucket/{key}.jpg, or one column of whole web addresses "
            "alone, as in {url}"
        )
    if not names:
        raise UsageError(
            f"--images {template}: names no column; write one in braces, such as {{key}}"
        )
    return names


def filled(template: str, sample: Mapping[str, Any]) -> str:
    """The location of a sample's image.

    The template's own beginning, up to the last slash before its first column, is a directory that
    no values, joined with the rest, lead out of. A template that is one column alone leads to the
    web only. Raises UnsafeValue for anything else, and where a value is missing.
    """
    beginning, text = "", ""
    for number, (literal, name, _, _) in enumerate(Formatter().parse(template)):
        text += literal
        if number == 0:
            beginning = literal
        if name is None:
            continue
        value = sample.get(name)
        if value is None:
            raise UnsafeValue(f"the sample has no {name}")
        text += str(value)
    if not text.isprintable():
        raise UnsafeValue("a value holds control characters")
    if not beginning:
        if not text.startswith(WEB):
            raise UnsafeValue("a value is no web address, and the template names no store")
        return text
    store = beginning.partition("://")[1] and "/".join(beginning.split("/", 3)[:3])
    folder = beginning[: beginning.rfind("/", len(store)) + 1]
    columns = ", ".join(dict.fromkeys(names_of(template)))
    if store and not folder:
        raise UnsafeValue(f"{columns} would choose the bucket or host; write it into --images")
    if why_unsafe(text[len(folder) :]):
        raise UnsafeValue(f"{columns} would lead out of what the template names")
    return text
