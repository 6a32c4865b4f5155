"""Commands give the same results for folders of any name."""

import json
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.report import ReportConfig, write_report
from scanner.query import open_run
from tests.calibration.runs import synthetic_labels, synthetic_run
from tests.curation.runs import loudness, make_run
from tests.jobs.test_curate import POLICY
from tests.memscan import called
from tests.query.questions import ROWS
from tests.query.runs import make_run as make_scored
from tests.report.test_page import FINGERPRINT, RECORD

PLACES = ("plain", "caption_id=x/is_reference=true/[1] a*b {c}", "source=laion/row=7/50% #1?")
CAPTIONS = "".join(f"k{k},{'loud' if k < 3 else f'quiet {k}'},u{k % 4}\n" for k in range(8))


def answers(place: Path) -> list[object]:
    """What calibrate, rank and sql say of a run in a folder."""
    run = synthetic_run(place / "run")
    listed = json.loads(called("calibrate", run, "--json").stdout)
    ranked = json.loads(called("rank", run, "--with", f"o={run}", "--json").stdout)
    query = "SELECT count(*) AS n, sum(n_samples) AS samples FROM o.ranked"
    counted = json.loads(called("sql", "--with", f"o={run}", run, query, "--json").stdout)
    return [listed, ranked, counted]


def test_rank_sql_and_calibrate_work_at_any_path(tmp_path: Path) -> None:
    plain, *others = (answers(tmp_path / place) for place in PLACES)
    for other in others:
        assert other == plain


def test_labels_are_read_at_any_path(tmp_path: Path) -> None:
    place = tmp_path / PLACES[1]
    run = synthetic_run(place / "run")
    labels = synthetic_labels(place / "labels.csv")
    made = json.loads(called("calibrate", run, "--labels", labels, "--json").stdout)
    assert made["labels"]["unknown"] == made["labels"]["contradicted"] == 0
    assert made["combination"]["auc"] > 0.9


def test_the_next_command_works_at_any_path(tmp_path: Path) -> None:
    place = tmp_path / PLACES[1]
    run, labels = synthetic_run(place / "run"), synthetic_labels(place / "labels.csv")
    out = str(place / "calibration.json")
    shown = called("calibrate", run, "--labels", labels, "--out", out).stdout
    (line,) = [each for each in shown.splitlines() if each.startswith("next: ")]
    name, *words = shlex.split(line.removeprefix("next: "))
    assert name == "memscan"
    assert called(*words, "--top", "1").returncode == 0


@pytest.mark.slow
def test_a_report_works_at_any_path(tmp_path: Path) -> None:
    run = make_scored(tmp_path / PLACES[1] / "run", ROWS, fingerprint=FINGERPRINT, record=RECORD)
    page = tmp_path / PLACES[2] / "report.html"
    write_report(ReportConfig(run, str(page)), "memscan report")
    assert "15 samples" in " ".join(page.read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_removal_list_and_copies_work_at_any_path(tmp_path: Path, place: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text(f"key,caption,url\n{CAPTIONS}")
    folder = tmp_path / place
    run = make_run(folder / "run", loudness, captions=(str(tmp_path / "data"),))
    (folder / "p.toml").write_text(POLICY.replace("ACTION", "drop"))
    words = ("--policy", str(folder / "p.toml"), "--out", str(folder / "list"), "--force")
    more = ("--image-key", "none", "--apply", str(folder / "copies"), "--with", f"o={run}")
    called("curate", *words, *more, run)
    with (folder / "list" / "removal_list.parquet").open("rb") as file:
        listed = pq.read_table(file)
    assert listed["key"].to_pylist() == ["k0", "k1", "k2"]
    assert set(listed["source"].to_pylist()) == {str(tmp_path / "data" / "a.csv")}
    assert len((folder / "copies" / "a.csv").read_text().splitlines()) == 6
    assert open_run(run).query("FROM samples").num_rows == 8
