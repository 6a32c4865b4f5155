"""What a query says of a part of the run that is cut short or gone."""

from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.query import open_run
from tests.curation.runs import loudness, make_run, write_rows


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "missing"])
def test_a_damaged_part_names_its_remedy(tmp_path: Path, kind: str) -> None:
    run = tmp_path / "run"
    data = write_rows(tmp_path / "a.jsonl", [("loud", "u"), ("quiet", "v")])
    make_run(run, loudness, captions=(str(data),))
    tables = open_run(str(run))
    (part,) = (run / "scores").iterdir()
    if kind == "cut":
        part.write_bytes(part.read_bytes()[:-20])
    else:
        part.unlink()
    with pytest.raises(UserError, match="rerun the memscan scan that made it with --repair"):
        open_run(str(run)).query("FROM scores")
    with pytest.raises(UserError, match="rerun the memscan scan that made it with --repair"):
        tables.query("FROM scores")
