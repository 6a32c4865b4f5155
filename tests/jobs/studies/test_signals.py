"""The study of all signals, on runs of the testbed's captions with scores set by the test."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.studies.signals import main
from jobs.studies.signals.testbed_runs import join_runs
from scanner.captions.identity import caption_id
from scanner.errors import UserError
from scanner.models import load_model
from scanner.run.schema import CAPTION_ID
from scanner.scoring.catalog import SIGNALS
from scanner.testbed import labels
from tests.calibration.runs import FINGERPRINT, synthetic_run, write_run

# It counts the FLOPs of full-size models.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_replicates")]

LABELS = labels().to_pylist()
CHOSEN = [row for row in LABELS if row["memorized"]]
CHOSEN += [row for row in LABELS if not row["memorized"]][-200:]
KNOWN = np.array([row["memorized"] for row in CHOSEN])


def _id(row: dict[str, Any]) -> str:
    return caption_id(row["caption"].lower())


def _write(folder: Path, scores: dict[str, list], rows: slice = slice(None)) -> str:
    """Write a run of the testbed with these columns, of some of the captions."""
    captions = [row["caption"] for row in CHOSEN[rows]]
    columns = {name: values[rows] for name, values in scores.items()}
    schema = pa.schema([CAPTION_ID, *(SIGNALS[name].documented_field for name in columns)])
    ids = [_id(row) for row in CHOSEN[rows]]
    table = pa.table({"caption_id": ids, **columns}).cast(schema)
    fingerprint = FINGERPRINT | {"weights": load_model("testbed").weights}
    return write_run(folder, captions, table, ~KNOWN[rows], fingerprint)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One run of all captions, where noise_norm_low separates well and attention a little, and one
    of half of them, where curvature is random."""
    folder, random = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    noise = random.normal(size=(6, len(CHOSEN)))
    whole = {
        "noise_norm_low": list(noise[0] + 3 * KNOWN),
        "bos_mass": list(noise[1] - KNOWN),
        "entropy_layers": (noise[2:5].T + np.outer(KNOWN, [0, 1, 0])).tolist(),
    }
    part = {"curvature": list(noise[5])}
    return [_write(folder / "all", whole), _write(folder / "part", part, slice(None, None, 2))]


def test_the_study_says_what_each_signal_adds(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(runs) == 0
    printed = capsys.readouterr().out
    compared, standard, thorough = printed.split("signal | part of it")
    assert "| `noise_norm_low` | 0.9" in compared
    assert "| 1 | 0.95 |" in compared, "a forward less what all captions share"
    half = f", on {len(set(map(_id, CHOSEN[::2])))} captions | "
    assert f"{half}5 | 4.95 |" in compared
    for table in (standard, thorough):
        adds = {
            cells[1].split(",")[0].strip(" `"): (cells[2].strip(), cells[-3].strip())
            for cells in (line.split("|") for line in table.splitlines() if "to +" in line)
        }
        assert adds["noise_norm_low"] == ("yes", "yes")
        assert adds["curvature"][0] == "no"
        assert adds["curvature"][1] != "yes"
    assert f"| `curvature`{half}no |" in standard
    assert "| `entropy_layers` | higher | 0." in printed


def test_a_column_is_joined_by_caption(runs: list[str]) -> None:
    (testbed,) = join_runs(runs)
    expected = set(map(_id, CHOSEN[::2]))
    assert testbed.has("curvature").sum() == len(expected)
    part = testbed.with_scores_in("curvature").labeled
    (alone,) = join_runs(runs[1:])
    assert part.table["caption_id"].equals(alone.labeled.table["caption_id"])
    assert part.table["curvature"].equals(alone.labeled.table["curvature"])
    assert (part.memorized == alone.labeled.memorized).all()


def test_other_runs_are_refused(runs: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has captions that the first run of testbed has not"):
        join_runs(runs[::-1])
    with pytest.raises(UserError, match="not a run of testbed or testbed-dit"):
        join_runs([synthetic_run(tmp_path / "run")])
