"""The ranking shows what people said about a caption."""

import shutil
from pathlib import Path

import pytest

from jobs.console.calibrations import named_calibration
from jobs.report import ReportConfig, write_report
from scanner.query import open_run
from scanner.run.decision_log import DecisionLog
from scanner.run.decisions import Change, Entry, Statement
from scanner.storage import Store
from tests.memscan import called
from tests.report.verified_runs import verified_run


@pytest.mark.slow
def test_a_label_is_shown_in_words_beside_the_decision(tmp_path: Path) -> None:
    run = verified_run(tmp_path, 4, {})
    first, second, *_ = open_run(run).query("FROM captions")["caption_id"].to_pylist()
    log = DecisionLog(Store(run))
    log.append(Entry("ann", (Change(Statement("none", "keep"), {first: None}),)))
    log.append(Entry("ann", (Change(Statement("verbatim"), {second: None}),)))
    page = tmp_path / "report.html"
    write_report(ReportConfig(run, str(page)), "memscan report")
    text = page.read_text()
    assert "reviewed: not memorized, keep<" in text
    assert "reviewed: verbatim<" in text


def test_what_people_chose_is_not_an_expected_error(testbed_run: str, tmp_path: Path) -> None:
    run, page = str(tmp_path / "run"), tmp_path / "report.html"
    shutil.copytree(testbed_run, run)
    config = ReportConfig(run, str(page), calibration="testbed")
    write_report(config, "memscan report")
    assert "that people chose" not in page.read_text()
    tables = open_run(run, calibration=named_calibration("testbed"))
    top = tables.query("FROM ranked ORDER BY probability DESC LIMIT 1")["caption_id"][0].as_py()
    chosen = Change(Statement("verbatim", "cap"), {top: None})
    DecisionLog(Store(run)).append(Entry("ann", (chosen,)))
    write_report(config, "memscan report")
    assert "Of these captions, not counting 1 that people chose, " in page.read_text()
    card = called("card", run, "--calibration", "testbed").stdout
    assert "of these, not counting 1 that people chose, are expected" in card
