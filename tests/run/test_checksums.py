"""Scores of a sealed run that have changed since they were written are found by status."""

import json
from pathlib import Path

import pytest

from jobs.status import main
from tests.curation.runs import make_run
from tests.run.planned import planned_run, slices_of


@pytest.fixture
def run(tmp_path: Path) -> str:
    (tmp_path / "a.txt").write_text("".join(f"caption {k}\n" for k in range(12)))
    options = {"captions": (str(tmp_path / "a.txt"),), "slice_rows": 4}
    return make_run(tmp_path / "run", lambda caption: 1.0, **options)


def test_changed_and_missing_scores_are_named(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([run, "--checksums"]) == 0
    assert "checksums  all scores are as they were written" in capsys.readouterr().out
    first, second, _ = sorted(Path(run, "scores").iterdir())
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.unlink()
    names = [f"scores/{one.name}" for one in (first, second)]
    assert main([run, "--checksums"]) == 3
    shown = capsys.readouterr()
    assert [line for line in shown.out.splitlines() if "damaged" in line] == [
        f"damaged    {name}" for name in names
    ]
    assert "2 files of scores changed or missing; rerun the same memscan scan" in shown.err
    assert main([run, "--checksums", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["damaged"] == names
    assert main([run, "--json"]) == 0
    assert "damaged" not in json.loads(capsys.readouterr().out)


def test_a_run_that_is_not_sealed_has_no_checksums_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned_run(tmp_path / "run", slices_of(2))
    assert main([str(tmp_path / "run"), "--checksums"]) == 1
    assert "--checksums: the run is not sealed; finish the scan first" in capsys.readouterr().err
