"""A run that several test files read and none changes."""

import pytest

from scanner.query import RunTables, open_run
from tests.curation.runs import ROWS, loudness, make_run, write_rows


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("curation")
    data = write_rows(folder / "a.jsonl", ROWS)
    return make_run(folder / "run", loudness, captions=(str(data),), keep=("url", "score"))


@pytest.fixture
def tables(run: str) -> RunTables:
    return open_run(run)
