"""Quote untrusted text in SQL statements: as an identifier or as a string literal."""

import re

from scanner.errors import UserError

SHOWN = 80
# DuckDB ends a statement at a NUL character, and accepts only valid UTF-8.
_UNREPRESENTABLE = re.compile("[\0\ud800-\udfff]")


def identifier(name: str) -> str:
    """Quote the name of a column, view or schema. Raises UserError if SQL cannot represent it."""
    if not name or _UNREPRESENTABLE.search(name):
        raise UserError(f"SQL cannot name a column or view {abbreviated(name)}; rename it")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string literal. Raises UserError if SQL cannot represent it."""
    if _UNREPRESENTABLE.search(text):
        raise UserError(
            f"SQL cannot represent the text {abbreviated(text)}; rename the column or file that "
            "contains it"
        )
    return "'" + text.replace("'", "''") + "'"


def abbreviated(name: str) -> str:
    """Return a name's repr, shortened to fit an error message of one line."""
    return repr(name if len(name) <= SHOWN else name[: SHOWN - 1] + "…")
