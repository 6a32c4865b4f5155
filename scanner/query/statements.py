"""Check user SQL on DuckDB's own parse tree: one statement, one read-only SELECT, one expression.

Node types and table functions are allow-listed: additions of later DuckDB versions are refused
until they are listed here.
"""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import duckdb

from scanner.errors import UserError
from scanner.query.quoting import abbreviated

# Types of query nodes, of FROM items, and of modifiers.
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
# Table functions that only use their arguments; the macros of sql/macros are added to these.
_TABLE_FUNCTIONS = {
    *("generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"),
}
# Allowed although DuckDB lists them as volatile, like functions with side effects.
_RANDOM = {"error", "gen_random_uuid", "random", "uuid", "uuidv4", "uuidv7"}
# Functions that expose the process and its settings.
_FOREIGN = {
    *("current_query", "current_setting", "getenv", "getvariable", "json_execute_serialized_sql"),
    *("pg_sleep", "txid_current"),
}
_NOT_A_PREDICATE = "must be one SQL predicate, such as n_samples > 10"
_FUNCTIONS = """
    SELECT function_name, is_volatile, is_macro
    FROM (
        SELECT function_name, stability IS NOT DISTINCT FROM 'VOLATILE' AS is_volatile,
               NOT internal AND function_type = 'table_macro' AS is_macro
        FROM duckdb_functions()
    )
    WHERE is_volatile OR is_macro"""
_SYSTEM_VIEWS = """
    SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'"""


def execute_one(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None
) -> None:
    """Execute one internal statement built from quoted names.

    Raises UserError, before running anything, if the text parses to any other number of statements.
    """
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UserError(f"SQL: expected one statement, got {len(statements)}; nothing was run")
    connection.execute(statements[0], parameters)


class StatementChecker:
    """Check statements for one connection, which can load no extensions and whose views and
    macros, those of sql/macros, must already exist."""

    # (name, is volatile, is a table macro), listed once, since it takes as long as opening a
    # connection, and connections have the same functions and macros.
    _functions: ClassVar[list[tuple[str, bool, bool]]] = []

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        if not self._functions:
            StatementChecker._functions = connection.execute(_FUNCTIONS).fetchall()
        volatile = {name.lower() for name, is_volatile, _ in self._functions if is_volatile}
        macros = {name.lower() for name, _, is_macro in self._functions if is_macro}
        self._refused = volatile - _RANDOM | _FOREIGN
        self._table_functions = _TABLE_FUNCTIONS | macros
        views = connection.execute(_SYSTEM_VIEWS).fetchall()
        self._system_views = {name.lower() for (name,) in views}

    def parse_select(self, sql: str) -> duckdb.Statement:
        """Return the statement. Raises UserError unless it is exactly one SELECT that only reads
        the run's tables."""
        try:
            statements = self.connection.extract_statements(sql)
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error
        kinds = [statement.type.name for statement in statements]
        if kinds != ["SELECT"]:
            given = ", ".join(kinds) or "no statement"
            raise UserError(f"SQL: must be exactly one SELECT, got {given}")
        tree = self._tree(sql)
        if tree["error"]:
            raise UserError(f"SQL: this SELECT cannot be checked: {tree['error_message']}")
        self._check(tree["statements"], "SQL")
        return statements[0]

    def parse_expression(self, text: str, where: str) -> dict[str, Any]:
        """Return the parse tree of one read-only expression, which will be inserted, in
        parentheses, into a longer statement.

        Raises UserError, starting with ``where``, for any other text.
        """
        expression = self._parse_column(f"(\n{text}\n)", where)
        # Text that closes one kind of bracket early cannot also close the other kind.
        in_list = self._parse_column(f"[\n{text}\n]", where)
        if in_list.get("function_name") != "list_value" or len(in_list["arguments"]) != 1:
            raise UserError(f"{where}: {_NOT_A_PREDICATE}")
        self._check(expression, where)
        return expression

    def _parse_column(self, text: str, where: str) -> dict[str, Any]:
        """Return the parse tree of the only column of ``SELECT text``, which may have no other
        clause."""
        tree, plain = self._tree(f"SELECT {text}"), self._tree("SELECT true")
        if tree["error"]:
            raise UserError(f"{where}: {_NOT_A_PREDICATE}: {tree['error_message']}")
        nodes = [statement["node"] for statement in tree["statements"]]
        columns = nodes[0].pop("select_list", [])
        del plain["statements"][0]["node"]["select_list"]
        if nodes != [plain["statements"][0]["node"]] or len(columns) != 1:
            raise UserError(f"{where}: {_NOT_A_PREDICATE}")
        return columns[0]

    def _tree(self, sql: str) -> dict[str, Any]:
        """Return DuckDB's parse tree of SELECT statements, or its error."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT json_serialize_sql($sql::VARCHAR)", {"sql": sql})
                ((text,),) = cursor.fetchall()
            return json.loads(text)
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error
        except RecursionError:
            raise UserError("SQL: expressions are nested too deeply; simplify them") from None

    def _check(self, tree: Any, where: str) -> None:
        """Raise UserError if any node of a parse tree does more than read the run's tables."""
        nodes = list(_nodes(tree))
        ctes = {entry["key"].lower() for node in nodes for entry in _ctes(node)}
        for node in nodes:
            kind = node.get("type")
            if not _only_reads(node):
                what = str(kind).removesuffix("_QUERY_NODE")
                raise UserError(f"{where}: must only read; {what} is not allowed")
            if kind == "BASE_TABLE" and self._is_foreign(node["table_name"].lower(), ctes):
                name = abbreviated(node["table_name"])
                raise UserError(f"{where}: the run has no table {name}; SHOW TABLES lists them")
            if kind == "TABLE_FUNCTION":
                name = str(node["function"].get("function_name"))
                if name.lower() not in self._table_functions:
                    raise UserError(_not_allowed(where, name))
            elif "class" in node and str(node.get("function_name")).lower() in self._refused:
                raise UserError(_not_allowed(where, node["function_name"]))

    def _is_foreign(self, name: str, ctes: set[str]) -> bool:
        """Return whether a table name refers to a file or to one of DuckDB's system views."""
        if name in self._system_views:
            return True
        return name not in ctes and any(sign in name for sign in "/\\:.*?[")


def _only_reads(node: dict[str, Any]) -> bool:
    """Return whether a node of a parse tree is an expression, a value, or of a read-only type."""
    kind = node.get("type")
    if "class" in node or not isinstance(kind, str):
        return True
    return kind in _READING or kind.endswith("_TYPE_INFO")


def _not_allowed(where: str, name: str) -> str:
    what = abbreviated(name)[1:-1]
    return f"{where}: {what}() is not allowed; queries can only read the run's tables"


def _ctes(node: dict[str, Any]) -> list[dict[str, Any]]:
    ctes = node.get("cte_map")
    return ctes["map"] if isinstance(ctes, dict) else []


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON document."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack += item.values()
        elif isinstance(item, list):
            stack += item
