"""Predicates that people write: ``--where``, and ``when`` in a policy's rule."""

from dataclasses import dataclass
from typing import Any

from scanner.errors import UserError
from scanner.query.statements import Reader

_IS_NULL = "OPERATOR_IS_NULL"


@dataclass(frozen=True)
class Predicate:
    """A text that is one SQL expression that only reads, of one value a row.

    ``columns``: the names that it reads; ``needed``: those of which it does not only ask whether
    they are null.
    """

    columns: frozenset[str]
    needed: frozenset[str]


def parse(reader: Reader, text: str, where: str) -> Predicate:
    """Parse a predicate. Raises UserError, beginning with ``where``, for any other text: it is
    going to stand inside a longer statement."""
    tree = reader.expression(text, where)
    if _has_star(tree):
        raise UserError(f"{where}: must be one column, not several as by COLUMNS(*)")
    return Predicate(frozenset(_names(tree)), frozenset(_names(tree, _IS_NULL)))


def binding(text: str, view: str) -> str:
    """SQL that fails unless a parsed predicate is true or false for each row of a view's SQL."""
    # Unlike SELECT, QUALIFY takes nothing that makes several rows of one (unnest).
    return (
        f"SELECT 1 FROM ({view}) QUALIFY ({text}\n)::BOOLEAN AND row_number() OVER () > 0 LIMIT 0"
    )


def _has_star(tree: Any) -> bool:
    """Whether an expression stands for several columns, as COLUMNS(*) does; a subquery's may."""
    if isinstance(tree, list):
        return any(map(_has_star, tree))
    if not isinstance(tree, dict) or tree.get("class") == "SUBQUERY":
        return False
    return tree.get("class") == "STAR" or any(map(_has_star, tree.values()))


def _names(tree: Any, without: str = "") -> list[str]:
    """The last part of every column's name in an expression, but in nodes of a type."""
    if isinstance(tree, list):
        return [name for item in tree for name in _names(item, without)]
    if not isinstance(tree, dict) or (without and tree.get("type") == without):
        return []
    own = [tree["column_names"][-1].lower()] if tree.get("class") == "COLUMN_REF" else []
    return own + [name for item in tree.values() for name in _names(item, without)]
