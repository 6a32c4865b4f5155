"""Untrusted text in Markdown: it formats nothing, links to nothing, and contains no HTML."""

import re
from collections.abc import Sequence

MOST_LETTERS = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


def code(text: object) -> str:
    """Return text as code within a line or a table's cell, shortened."""
    line = _CONTROL.sub(" ", str(text)).strip() or " "
    if len(line) > MOST_LETTERS:
        line = line[: MOST_LETTERS - 1] + "…"
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of cells that are Markdown already; none without rows.

    A bar would end the cell, also in code.
    """
    if not rows:
        return []
    lines = [header, ["---"] * len(header), *rows]
    cells = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return [f"| {' | '.join(line)} |" for line in cells]


def block(lines: Sequence[str]) -> list[str]:
    """Return a block of code; its fence is longer than any that it contains."""
    clean = [_CONTROL.sub(" ", line) for line in lines]
    longest = max((len(run) for line in clean for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *clean, fence]
