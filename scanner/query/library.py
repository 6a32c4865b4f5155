"""The named queries of sql/: each a file with a header that says what it is for.

The header is the leading comment: its first paragraph is the purpose; ``parameter NAME = DEFAULT:
text`` and ``column NAME: text`` lines follow.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from scanner.errors import UserError

_INSTALLED = Path(__file__).parent / "sql"
FOLDER = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[2] / "sql"


@dataclass(frozen=True)
class Query:
    """One file of sql/."""

    name: str
    purpose: str
    parameters: dict[str, float | int | str]
    about: dict[str, str]
    columns: dict[str, str]
    sql: str

    def bind(self, given: dict[str, str]) -> dict[str, float | int | str]:
        """All parameters, the given ones in the type of their default. Raises UserError."""
        unknown = ", ".join(sorted(set(given) - set(self.parameters)))
        if unknown:
            known = ", ".join(self.parameters) or "none"
            raise UserError(f"query {self.name} has no parameter {unknown}; it has {known}")
        bound = dict(self.parameters)
        for name, text in given.items():
            kind = type(self.parameters[name])
            try:
                bound[name] = kind(text)
            except ValueError as error:
                raise UserError(f"--param {name}={text}: must be a {kind.__name__}") from error
        return bound


def library() -> dict[str, Query]:
    """Every named query."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.sql"))}


def _read(path: Path) -> Query:
    text = path.read_text()
    header = [line[2:].strip() for line in text.splitlines() if line.startswith("--")]
    parameters: dict[str, float | int | str] = {}
    about: dict[str, str] = {}
    columns: dict[str, str] = {}
    purpose: list[str] = []
    for line in header:
        if match := re.fullmatch(r"parameter (\w+) = (\S+): (.*)", line):
            parameters[match[1]], about[match[1]] = _value(match[2]), match[3]
        elif match := re.fullmatch(r"column (\w+): (.*)", line):
            columns[match[1]] = match[2]
        elif line:
            purpose.append(line)
    return Query(path.stem, " ".join(purpose), parameters, about, columns, text)


def _value(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
