"""Scans below the model's own image size, and their comparison with a scan at that size."""

import json
from pathlib import Path

import pytest

from jobs import scan, sql

CAPTIONS = ["a red fox", "an old boat in fog", "the great wave", "two cups"]
OWN, SIZES = 32, (32, 24, 16)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """A scan of the same captions at each size."""
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "captions.txt").write_text("\n".join(CAPTIONS))
    scanned = {}
    for side in SIZES:
        scanned[side] = str(folder / f"run-{side}")
        options = ["--captions", str(folder / "captions.txt"), "--out", scanned[side]]
        options += ["--model", "testbed", "--height", str(side), "--width", str(side)]
        assert scan.main(options) == 0
    return scanned


def _compare(one: str, other: str, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    capsys.readouterr()
    assert sql.main([one, "--name", "compare", "--with", f"other={other}", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("side", [24, 16])
def test_compare_puts_a_reduced_size_beside_the_model_s_own(
    runs: dict[int, str], side: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _compare(runs[OWN], runs[side], capsys)
    assert {row["caption"] for row in rows} == set(CAPTIONS)
    assert all(row["here"] > 0 and row["there"] > 0 for row in rows)
    assert all(row["here"] != row["there"] for row in rows)


def test_runs_of_different_sizes_have_different_fingerprints(runs: dict[int, str]) -> None:
    records = [json.loads(Path(run, "run.json").read_text()) for run in runs.values()]
    shapes = [tuple(one["fingerprint"]["latent_shape"]) for one in records]
    assert len(set(shapes)) == len(SIZES)
    assert [shape[1] / shapes[0][1] for shape in shapes] == [1, 0.75, 0.5]
