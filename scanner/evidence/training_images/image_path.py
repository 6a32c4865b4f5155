"""Fill the template of a training image's location with a sample's untrusted values."""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from scanner.errors import UsageError
from scanner.storage import why_unsafe

WEB = ("http://", "https://")


class UnsafeValue(ValueError):
    """A value that would lead outside the template's location."""


def names_of(template: str) -> list[str]:
    """Return the columns that a template names. Raises UsageError unless the braces hold plain
    column names."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"--images {template}: {error}") from error
    names = [name for _, name, _, _ in parts if name is not None]
    for _, name, form, conversion in parts:
        if name is not None and (not re.fullmatch(r"\w+", name) or form or conversion):
            raise UsageError(
                f"--images {template}: braces must hold plain column names, such as {{key}}"
            )
    starts = bool(parts) and not parts[0][0]
    if names and starts and template != f"{{{names[0]}}}":
        raise UsageError(
            f"--images {template}: starts with a column, whose value would choose the store; put "
            "the store first, as in s3://bucket/{key}.jpg, or use a single column of web "
            "addresses, as in {url}"
        )
    if not names:
        raise UsageError(
            f"--images {template}: names no column; put one in braces, such as {{key}}"
        )
    return names


def folder_of(template: str) -> str:
    """Return the directory that the values of a template cannot lead out of, "" for web addresses
    that the data names."""
    (prefix, *_), *_ = Formatter().parse(template)
    store = prefix.partition("://")[1] and "/".join(prefix.split("/", 3)[:3])
    return prefix[: prefix.rfind("/", len(store)) + 1]


def filled(template: str, sample: Mapping[str, Any]) -> str:
    """Return the location of a sample's image.

    The template's text up to the last slash before its first column is a directory that the values
    cannot lead out of. A template of a single column only allows web addresses. Raises UnsafeValue
    if a value breaks these rules or is missing.
    """
    prefix, text = "", ""
    for number, (literal, name, _, _) in enumerate(Formatter().parse(template)):
        text += literal
        if number == 0:
            prefix = literal
        if name is None:
            continue
        value = sample.get(name)
        if value is None:
            raise UnsafeValue(f"the sample has no {name}")
        text += str(value)
    if not text.isprintable():
        raise UnsafeValue("a value contains control characters")
    if not prefix:
        if not text.startswith(WEB):
            raise UnsafeValue("a value is not a web address, and the template names no store")
        return text
    store, folder = prefix.partition("://")[1], folder_of(template)
    columns = ", ".join(dict.fromkeys(names_of(template)))
    if store and not folder:
        raise UnsafeValue(f"{columns} would choose the bucket or host; write it into --images")
    if why_unsafe(text[len(folder) :]):
        raise UnsafeValue(f"{columns} would lead outside the template's directory")
    return text
