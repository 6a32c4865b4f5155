"""Random rows, written in each format by others, are read as they were written."""

from pathlib import Path

import pytest

from scanner.captions.formats import inspect, read
from scanner.captions.values import as_text, first_valid
from tests.tables import FORMATS, Row, random_rows, write_table


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", FORMATS)
def test_rows_are_read_as_they_were_written(tmp_path: Path, name: str, seed: int) -> None:
    rows = random_rows(seed, 60, name)
    write_table(tmp_path / name, rows)
    contents = inspect(str(tmp_path / name))
    assert {"key", "caption", "url"} <= set(contents.columns)
    wanted = ["key", "caption", "url", *filter(None, [contents.fallback])]
    found: list[Row] = []
    for batch in read(str(tmp_path / name), wanted, quoting=contents.quoting):
        assert batch.bad == []
        columns = dict(batch.columns)
        if contents.fallback:
            columns["caption"] = first_valid(columns["caption"], columns.pop(contents.fallback))
        texts = {column: as_text(values).to_pylist() for column, values in columns.items()}
        found += [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    assert found == rows
