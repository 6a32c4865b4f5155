"""Any bytes: every row comes out once, the same each time, or the file is refused."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from scanner.captions.columns import ColumnOptions, resolve
from scanner.captions.formats import UnreadableFile, inspect, read
from scanner.cluster.work import Result
from scanner.errors import UserError
from scanner.scan.plan.inputs import FrozenInputs, Segment, Unit
from scanner.scan.plan.reading import ReadWork
from tests.fuzz.conftest import Explore
from tests.fuzz.files import File, line_files, tar_files, tar_of

Place = Callable[[str, bytes], str]
QUOTINGS = ("auto", "standard", "none")


def _read(
    url: str, quoting: str, batch_rows: int | None = None
) -> tuple[list[tuple[int, Any]], str]:
    """Every row with its values or why it is bad, and what ended the file."""
    try:
        contents = inspect(url, quoting)
    except UserError as error:
        return [], str(error)
    columns = contents.columns[:5]
    found: list[tuple[int, Any]] = []
    try:
        for batch in read(url, columns, quoting=contents.quoting, batch_rows=batch_rows):
            values = [batch.columns[name] for name in columns]
            found += zip(batch.rows, zip(*values, strict=True), strict=False)
            found += [(row, None) for row in batch.rows] if not columns else []
            found += batch.bad
    except UnreadableFile as error:
        return sorted(found, key=lambda row: row[0]), str(error)
    return sorted(found, key=lambda row: row[0]), ""


def _planned(url: str, quoting: str) -> tuple[Result, list[tuple[str, pa.Table]]]:
    """What planning makes of a file."""
    try:
        contents = inspect(url, quoting)
        names = [name for name in contents.columns if name and name.isprintable()]
        options = ColumnOptions(next(iter(names), None), keep=tuple(names[1:3]))
        columns = None
        if contents.columns or contents.is_open:
            columns = resolve(contents.columns, url, options, contents.is_open)
            columns = replace(columns, quoting=contents.quoting, fallback=contents.fallback)
        segment = Segment(url, False, columns)
    except UserError as error:
        segment = Segment(url, False, None, problem=str(error))
    # Which segments there are is frozen as JSON.
    frozen = FrozenInputs((), (Unit("0", (segment,)),)).to_json()
    (segment,) = FrozenInputs.from_json("", frozen).units[0].segments
    work = ReadWork(lambda: str.strip, ("kept",), "planning")
    result = work.finish(work.compute(work.prepare(Unit("0", (segment,)))))
    return result, [(output.kind, output.table) for output in result.outputs]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [line_files, tar_files], ids=["lines", "tar"])
def test_every_row_comes_out_once(explore: Explore, place: Place, kind: Callable) -> None:
    def check(file: File) -> None:
        url = place(file.name, file.data)
        for quoting in QUOTINGS if ".csv" in file.name or ".tsv" in file.name else ("auto",):
            rows, why = _read(url, quoting)
            assert [row for row, _ in rows] == list(range(len(rows)))
            assert repr(_read(url, quoting)) == repr((rows, why))
            assert repr(_read(url, quoting, 2)) == repr((rows, why))

    explore(check, file=kind())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [line_files, tar_files], ids=["lines", "tar"])
def test_planned_rows_are_samples_and_rejects(
    explore: Explore, place: Place, kind: Callable
) -> None:
    def check(file: File) -> None:
        url = place(file.name, file.data)
        result, tables = _planned(url, "auto")
        (counts,) = result.notes["files"]
        rows = dict.fromkeys(("samples", "rejects"), 0)
        for name, table in tables:
            table.validate(full=True)
            rows[name] = rows.get(name, 0) + len(table)
        assert rows["samples"] == counts["samples"]
        assert rows["rejects"] == counts["rejects"] + counts["unreadable"]
        assert counts["rows"] == counts["samples"] + counts["rejects"]
        if not counts["unreadable"] and (lines := _lines(file)) is not None:
            assert counts["rows"] == lines

    # Names of columns and of samples that are not UTF-8 stand in reasons of rejects.
    apart = tar_of([("\udc80.txt", b"a"), ("1.txt", b"b"), ("\udc80.jpg", b"c")])
    explore(
        check,
        [{"file": File("a.csv", b"\x80,\x81\n1,2\n")}, {"file": File("a.tar", apart)}],
        file=kind(),
    )


def _lines(file: File) -> int | None:
    """How many rows a file of lines has, by a count of its own; None where it does not tell."""
    text = file.data.decode("utf-8-sig", "surrogateescape")
    if file.name == "a.txt":
        return sum(bool(line.strip()) for line in text.split("\n"))
    if file.name == "a.jsonl":
        return sum(bool(line.strip()) for line in re.split("\r\n|\r|\n", text))
    return None
