"""What rank says below its table on a terminal."""

import contextlib
import io
from pathlib import Path

import pytest

from jobs import rank
from jobs.console.calibrations import named_calibration
from jobs.rank import NOT_A_VERDICT, likely_captions
from scanner.query import open_run
from tests.calibration.runs import synthetic_labels, synthetic_run
from tests.memscan import called


class Terminal(io.StringIO):
    """Output that counts as a terminal's."""

    def isatty(self) -> bool:
        return True


def said(*words: str) -> str:
    """Standard error of rank with a terminal for standard output."""
    error = io.StringIO()
    with contextlib.redirect_stdout(Terminal()), contextlib.redirect_stderr(error):
        assert rank.main(words) == 0
    return error.getvalue()


def test_it_says_where_the_default_policy_stops(tmp_path: Path) -> None:
    run, labels = synthetic_run(tmp_path / "run"), synthetic_labels(tmp_path / "labels.csv")
    calibration = str(tmp_path / "c.json")
    called("calibrate", run, "--labels", labels, "--out", calibration)
    tables = open_run(run, calibration=named_calibration(calibration))
    likely = sum(p >= 0.5 for p in tables.query("FROM ranked")["probability"].to_pylist())
    assert likely > 1
    hint = f"probability of at least 0.5: {likely} captions of this run"
    assert likely_captions(tables).startswith(hint)
    shown = said(run, "--calibration", calibration)
    assert hint in shown
    assert NOT_A_VERDICT not in shown
    assert NOT_A_VERDICT in said(run)
    assert hint in said(run, "--calibration", calibration, "--where", "probability < 0.1")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--json", "--out"])
def test_it_says_nothing_for_programs(option: str, tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run")
    words = [option, str(tmp_path / "r.csv")] if option == "--out" else [option]
    assert NOT_A_VERDICT not in said(run, *words)
