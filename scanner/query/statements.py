"""What a SQL text does, by DuckDB's own parse of it: exactly one statement, one SELECT that only
reads, one expression.

Lists of what is allowed, so that what a later DuckDB adds is refused until it is added here.
"""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from scanner.errors import UserError
from scanner.query.quoting import shown

# The kinds of queries, of what follows FROM, and of what is sorted and limited in them.
_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_SOURCES = {
    *("BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY"),
    "TABLE_FUNCTION",
}
_MODIFIERS = {
    *("DISTINCT_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"),
    *("ORDER_DEFAULT", "ASCENDING", "DESCENDING"),
}
_READING = _QUERIES | _SOURCES | _MODIFIERS
# Table functions that compute from their arguments; to these come the macros of sql/macros.
_TABLE_FUNCTIONS = {
    *("generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"),
}
# DuckDB calls these volatile, as it does functions with side effects.
_RANDOM = {"error", "gen_random_uuid", "random", "uuid", "uuidv4", "uuidv7"}
# About the process and its settings rather than about the run.
_FOREIGN = {
    *("current_query", "current_setting", "getenv", "getvariable", "json_execute_serialized_sql"),
    *("pg_sleep", "txid_current"),
}
_ONE = "must be one SQL predicate, such as n_samples > 10"
_VOLATILE = "SELECT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
_MACROS = """
    SELECT function_name FROM duckdb_functions()
    WHERE NOT internal AND function_type = 'table_macro'"""
_SYSTEM_VIEWS = """
    SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'"""


def run_one(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None
) -> None:
    """Run a statement of ours into which names were put, or nothing. Raises UserError."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UserError(f"SQL: one statement was to be run, found {len(statements)}; nothing ran")
    connection.execute(statements[0], parameters)


class Reader:
    """Judge statements for one connection, whose macros and views are there when it is made."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._refused = self._names(_VOLATILE) - _RANDOM | _FOREIGN
        self._table_functions = _TABLE_FUNCTIONS | self._names(_MACROS)
        self._system_views = self._names(_SYSTEM_VIEWS)

    def select(self, sql: str) -> duckdb.Statement:
        """Return the statement, if it is exactly one SELECT that only reads the run's tables."""
        try:
            statements = self.connection.extract_statements(sql)
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error
        kinds = [statement.type.name for statement in statements]
        if kinds != ["SELECT"]:
            found = ", ".join(kinds) or "nothing"
            raise UserError(f"SQL: exactly one SELECT is allowed here; found {found}")
        tree = self._tree(sql)
        if tree["error"]:
            raise UserError(f"SQL: this SELECT cannot be checked: {tree['error_message']}")
        self._check(tree["statements"], "SQL")
        return statements[0]

    def expression(self, text: str, where: str) -> dict[str, Any]:
        """Return the parse tree of a text that is one expression and only reads.

        Raises UserError, with ``where`` before the reason, for any other: it is going to stand
        between parentheses inside a longer statement.
        """
        expression = self._selected(f"(\n{text}\n)", where)
        # Text that leaves one kind of bracket for another expression cannot leave both.
        listed = self._selected(f"[\n{text}\n]", where)
        if listed.get("function_name") != "list_value" or len(listed["arguments"]) != 1:
            raise UserError(f"{where}: {_ONE}")
        self._check(expression, where)
        return expression

    def _selected(self, text: str, where: str) -> dict[str, Any]:
        """The tree of the one column of a SELECT of nothing else."""
        tree, plain = self._tree(f"SELECT {text}"), self._tree("SELECT true")
        if tree["error"]:
            raise UserError(f"{where}: {_ONE}: {tree['error_message']}")
        nodes = [statement["node"] for statement in tree["statements"]]
        columns = nodes[0].pop("select_list", [])
        del plain["statements"][0]["node"]["select_list"]
        if nodes != [plain["statements"][0]["node"]] or len(columns) != 1:
            raise UserError(f"{where}: {_ONE}")
        return columns[0]

    def _names(self, sql: str) -> set[str]:
        return {str(name).lower() for (name,) in self.connection.execute(sql).fetchall()}

    def _tree(self, sql: str) -> dict[str, Any]:
        """DuckDB's parse tree of SELECT statements, or its error."""
        try:
            with self.connection.cursor() as cursor:
                found = cursor.execute("SELECT json_serialize_sql($sql::VARCHAR)", {"sql": sql})
                ((text,),) = found.fetchall()
            return json.loads(text)
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error
        except RecursionError:
            raise UserError("SQL: expressions are nested too deeply; simplify them") from None

    def _check(self, tree: Any, where: str) -> None:
        """Raises UserError where a part of a parse tree does anything but read."""
        nodes = list(_nodes(tree))
        own = {entry["key"].lower() for node in nodes for entry in _ctes(node)}
        for node in nodes:
            kind = node.get("type")
            if not _only_reads(node):
                what = str(kind).removesuffix("_QUERY_NODE")
                raise UserError(f"{where}: a SELECT here may only read; found {what}")
            if kind == "BASE_TABLE" and self._is_foreign(node["table_name"].lower(), own):
                name = shown(node["table_name"])
                raise UserError(f"{where}: {name} is no table of the run (SHOW TABLES lists them)")
            if kind == "TABLE_FUNCTION":
                name = str(node["function"].get("function_name"))
                if name.lower() not in self._table_functions:
                    raise UserError(_not_allowed(where, name))
            elif "class" in node and str(node.get("function_name")).lower() in self._refused:
                raise UserError(_not_allowed(where, node["function_name"]))

    def _is_foreign(self, name: str, own: set[str]) -> bool:
        """Whether a table's name means a file, or a view of DuckDB's own."""
        if name in self._system_views:
            return True
        return name not in own and any(sign in name for sign in "/\\:.*?[")


def _only_reads(node: dict[str, Any]) -> bool:
    """Whether an object of a parse tree is an expression, a value, or of a kind that reads."""
    kind = node.get("type")
    if "class" in node or not isinstance(kind, str):
        return True
    return kind in _READING or kind.endswith("_TYPE_INFO")


def _not_allowed(where: str, name: str) -> str:
    what = shown(name)[1:-1]
    return f"{where}: {what}() is not allowed here; queries read the run's own tables only"


def _ctes(node: dict[str, Any]) -> list[dict[str, Any]]:
    found = node.get("cte_map")
    return found["map"] if isinstance(found, dict) else []


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
