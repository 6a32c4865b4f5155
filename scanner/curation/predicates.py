"""A policy's predicates: one SQL expression each, checked before anything runs."""

from dataclasses import dataclass
from typing import Any

from scanner.errors import UserError
from scanner.query import RunTables

_IS_NULL = "OPERATOR_IS_NULL"


@dataclass(frozen=True)
class Asked:
    """The ``names`` of the columns that a predicate reads; ``needed``: those of which it does not
    only ask whether they are null."""

    names: frozenset[str]
    needed: frozenset[str]


def columns_of(tables: RunTables, predicate: str, where: str) -> Asked:
    """The columns that a predicate reads.

    Raises UserError where the text is anything else than one SQL expression: it is going to stand
    inside a longer statement.
    """
    tree = tables.expression(predicate, where)
    if _has_star(tree):
        raise UserError(f"{where}: must be one column, not several as by COLUMNS(*)")
    return Asked(frozenset(_names(tree)), frozenset(_names(tree, _IS_NULL)))


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
