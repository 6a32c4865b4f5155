"""The named queries in sql/: one file each, documented by its header comment.

The header starts with the purpose. These entries follow, each on one or more lines:
``parameter NAME = DEFAULT: text`` (required if it has no default), ``column NAME: text``,
``needs NAME`` (a table or a column of the scores that the query requires) and ``example NAME=VALUE
…``. A parameter whose text starts with ``a column of VIEW`` takes a column name in any case.
"""

import itertools
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scanner.errors import UsageError

_INSTALLED = Path(__file__).parent / "sql"
FOLDER = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[2] / "sql"


@dataclass(frozen=True)
class Query:
    """A named query: one file of sql/.

    ``about``: parameters' descriptions; ``columns``: result columns' descriptions; ``needs``:
    tables and columns that must not be missing.
    """

    name: str
    purpose: str
    parameters: dict[str, float | int | str | None]
    about: dict[str, str]
    columns: dict[str, str]
    example: tuple[str, ...]
    needs: tuple[str, ...]
    sql: str

    @property
    def columns_of(self) -> dict[str, str]:
        """Return the parameters that take a column name, each with the column's view."""
        matches = {name: re.match(r"a column of (\w+)", text) for name, text in self.about.items()}
        return {name: match[1] for name, match in matches.items() if match}

    def bind(self, given: dict[str, str]) -> dict[str, Any]:
        """Return all parameters; given ones are converted to their default's type.

        Raises UsageError for unknown, missing and invalid parameters.
        """
        unknown = ", ".join(sorted(set(given) - set(self.parameters)))
        if unknown:
            known = ", ".join(self.parameters) or "none"
            raise UsageError(f"query {self.name} has no parameter {unknown}; it has {known}")
        for name, default in self.parameters.items():
            if default is None and name not in given:
                raise UsageError(f"query {self.name} needs --param {name}=…: {self.about[name]}")
        bound: dict[str, Any] = dict(self.parameters)
        for name, text in given.items():
            default = self.parameters[name]
            kind = str if default is None else type(default)
            try:
                bound[name] = kind(text)
            except ValueError as error:
                number = "a whole number" if kind is int else "a number"
                raise UsageError(f"--param {name}={text}: must be {number}") from error
        return bound


def library() -> dict[str, Query]:
    """Return every named query by name."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.sql"))}


@cache
def _read(path: Path) -> Query:
    text = path.read_text(encoding="utf-8")
    parameters: dict[str, float | int | str | None] = {}
    about: dict[str, str] = {}
    columns: dict[str, str] = {}
    purpose: list[str] = []
    example: tuple[str, ...] = ()
    needs: list[str] = []
    for line in _entries(text):
        if match := re.fullmatch(r"parameter (\w+)(?: = (\S+))?: (.*)", line):
            parameters[match[1]] = _value(match[2]) if match[2] else None
            about[match[1]] = match[3]
        elif match := re.fullmatch(r"column (\w+): (.*)", line):
            columns[match[1]] = match[2]
        elif match := re.fullmatch(r"example (.*)", line):
            example = tuple(shlex.split(match[1]))
        elif match := re.fullmatch(r"needs (\w+)", line):
            needs.append(match[1])
        else:
            purpose.append(line)
    return Query(
        path.stem, " ".join(purpose), parameters, about, columns, example, tuple(needs), text
    )


def _entries(text: str) -> list[str]:
    """Return the header's entries, each joined to one line."""
    entries: list[str] = []
    for line in itertools.takewhile(lambda line: line.startswith("--"), text.splitlines()):
        content = line[2:].strip()
        if re.match(r"(parameter|column|needs) \w+|example ", content) or not entries:
            entries.append(content)
        elif content:
            entries[-1] += f" {content}"
        else:
            entries.append("")
    return [entry.strip() for entry in entries if entry.strip()]


def _value(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
