"""Where a training image is, by a template over a sample's columns; the values are untrusted."""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from scanner.errors import UsageError

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
    if not names:
        raise UsageError(
            f"--images {template}: names no column; write one in braces, such as {{key}}"
        )
    return names


def filled(template: str, sample: Mapping[str, Any]) -> str:
    """The location of a sample's image.

    The template's own beginning decides the store: a value cannot climb out of it. A template
    that begins with a column leads to the web only. Raises UnsafeValue for anything else, and
    where a value is missing.
    """
    text = ""
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is None:
            continue
        value = sample.get(name)
        if value is None:
            raise UnsafeValue(f"the sample has no {name}")
        if text == "":
            if not str(value).startswith(WEB):
                raise UnsafeValue(f"{name} is no web address, and the template names no store")
        elif _leads_away(str(value), text):
            raise UnsafeValue(f"{name} would lead out of what the template names")
        text += str(value)
    return text


def _leads_away(value: str, before: str) -> bool:
    """Whether a value climbs, begins anew, or decides the store itself."""
    store_is_open = "://" in before and "/" not in before.split("://", 1)[1]
    climbs = ".." in re.split(r"[/\\]", value) or value.startswith(("/", "\\"))
    return store_is_open or climbs or "://" in value or not value.isprintable()
