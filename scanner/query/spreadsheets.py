"""Cells that a spreadsheet shows as text rather than runs as a formula.

Excel, LibreOffice and Google Sheets compute a cell of a CSV file that begins with one of these
characters; a caption can so fetch a URL or start a program (OWASP, CSV injection).
"""

import pyarrow as pa
import pyarrow.compute as pc

FORMULA = "-=+@\t\r\n\uff1d\uff0b\uff0d\uff20"


def text_cell(value: str) -> str:
    """Return a cell's text, with an apostrophe before what would begin a formula."""
    return f"'{value}" if value.startswith(tuple(FORMULA)) else value


def text_cells(table: pa.Table) -> pa.Table:
    """Return a table with :func:`text_cell` applied to its names and its columns of text."""
    names = [text_cell(name) for name in table.column_names]
    columns = [_text_cells(column) for column in table.columns]
    return pa.table(columns, names=names)


def _text_cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    formula = pc.match_substring_regex(column, f"^[{FORMULA}]")
    return pc.if_else(formula, pc.binary_join_element_wise("'", column, ""), column)
