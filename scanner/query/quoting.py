"""Text from outside the program as part of a SQL statement: the only two ways to put it there."""

import re

from scanner.errors import UserError

SHOWN = 80
# No SQL text can hold them: DuckDB ends a statement at the first, and takes valid UTF-8 only.
_UNSPEAKABLE = re.compile("[\0\ud800-\udfff]")


def identifier(name: str) -> str:
    """Quote the name of a column, view or schema. Raises UserError where SQL cannot name it."""
    if not name or _UNSPEAKABLE.search(name):
        raise UserError(f"SQL cannot name a column or view {shown(name)}; rename it")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text where a parameter cannot be bound. Raises UserError where SQL cannot hold it."""
    if _UNSPEAKABLE.search(text):
        raise UserError(f"SQL cannot hold the text {shown(text)}; rename what has it")
    return "'" + text.replace("'", "''") + "'"


def shown(name: str) -> str:
    """A name of any kind and length for an error of one line."""
    return repr(name if len(name) <= SHOWN else name[: SHOWN - 1] + "…")
