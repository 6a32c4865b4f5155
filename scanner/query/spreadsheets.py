"""Escape cells of CSV files that a spreadsheet would run as formulas.

Excel, LibreOffice and Google Sheets evaluate a cell that starts with one of these characters, so a
caption could fetch a URL or start a program (OWASP, CSV injection).
"""

import pyarrow as pa
import pyarrow.compute as pc

FORMULA = "-=+@\t\r\n\uff1d\uff0b\uff0d\uff20"


def text_cell(value: str) -> str:
    """Return a cell's text, with an apostrophe in front if it would start a formula."""
    return f"'{value}" if value.startswith(tuple(FORMULA)) else value


def text_cells(table: pa.Table) -> pa.Table:
    """Return a table with :func:`text_cell` applied to its column names and string columns."""
    names = [text_cell(name) for name in table.column_names]
    columns = [_text_cells(column) for column in table.columns]
    return pa.table(columns, names=names)


def _text_cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    formula = pc.match_substring_regex(column, f"^[{FORMULA}]")
    return pc.if_else(formula, pc.binary_join_element_wise("'", column, ""), column)
