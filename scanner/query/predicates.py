"""Predicates written by users: ``--where``, and ``when`` in a policy's rule."""

from dataclasses import dataclass
from typing import Any

from scanner.errors import UserError
from scanner.query.statements import StatementChecker

_IS_NULL = "OPERATOR_IS_NULL"
# Earlier names of columns of ranked, and what an error says of them.
_RENAMED = {
    "decision": "decision is what people decided (keep, cap or drop), in policies and the view "
    "decisions; the number that orders ranked is rank_score",
    "decision_signal": "use rank_signal, the new name of decision_signal",
    "decision_value": "use rank_value, the new name of decision_value, or rank_score, which is "
    "higher for memorized captions whatever the signal",
}


@dataclass(frozen=True)
class Predicate:
    """One read-only SQL expression with one value per row.

    ``columns``: the column names that it reads; ``needed``: those that it reads for more than an
    IS NULL test.
    """

    columns: frozenset[str]
    needed: frozenset[str]


def parse(checker: StatementChecker, text: str, where: str) -> Predicate:
    """Parse a predicate, which will be inserted into a longer statement.

    Raises UserError, starting with ``where``, for any other text.
    """
    tree = checker.parse_expression(text, where)
    if _has_star(tree):
        raise UserError(f"{where}: must be one value per row; remove COLUMNS(*)")
    return Predicate(frozenset(_names(tree)), frozenset(_names(tree, _IS_NULL)))


def binding_query(text: str, view: str) -> str:
    """Return a query that fails unless a parsed predicate is boolean for each row of a view's SQL.

    It reads no rows.
    """
    # Unlike SELECT, QUALIFY rejects functions that multiply rows (unnest).
    return (
        f"SELECT 1 FROM ({view}) QUALIFY ({text}\n)::BOOLEAN AND row_number() OVER () > 0 LIMIT 0"
    )


def renamed_columns(predicate: Predicate) -> str:
    """Return which columns of a predicate that cannot be bound to use instead, or ""."""
    return "".join(f"; {_RENAMED[name]}" for name in sorted(predicate.columns & _RENAMED.keys()))


def _has_star(tree: Any) -> bool:
    """Return whether an expression expands to several columns, as COLUMNS(*) does, outside of
    subqueries."""
    if isinstance(tree, list):
        return any(map(_has_star, tree))
    if not isinstance(tree, dict) or tree.get("class") == "SUBQUERY":
        return False
    return tree.get("class") == "STAR" or any(map(_has_star, tree.values()))


def _names(tree: Any, without: str = "") -> list[str]:
    """Return the last part of every column name in an expression, skipping nodes of type
    ``without``."""
    if isinstance(tree, list):
        return [name for item in tree for name in _names(item, without)]
    if not isinstance(tree, dict) or (without and tree.get("type") == without):
        return []
    own = [tree["column_names"][-1].lower()] if tree.get("class") == "COLUMN_REF" else []
    return own + [name for item in tree.values() for name in _names(item, without)]
