"""The named queries of sql/: each a file with a header that says what it is for.

The header is the leading comment. Its first paragraph is the purpose; ``parameter NAME = DEFAULT:
text`` (a text that has to be given, where there is no default), ``column NAME: text``, ``needs
NAME`` (a table or a column of the scores without which there is nothing to ask) and ``example
NAME=VALUE …`` follow, on as many lines as they take. A parameter whose text begins with ``a column
of VIEW`` names one, in any case.
"""

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.errors import UsageError

_INSTALLED = Path(__file__).parent / "sql"
FOLDER = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[2] / "sql"


@dataclass(frozen=True)
class Query:
    """One file of sql/."""

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
        """The parameters that name a column, and the view that has it."""
        found = {name: re.match(r"a column of (\w+)", text) for name, text in self.about.items()}
        return {name: match[1] for name, match in found.items() if match}

    def bind(self, given: dict[str, str]) -> dict[str, Any]:
        """All parameters, the given ones in the type of their default. Raises UsageError."""
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
    """Every named query."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.sql"))}


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
    """The header's entries, each on one line."""
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
