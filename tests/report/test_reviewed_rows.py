"""The ranking shows what people said about a caption."""

from pathlib import Path

from jobs.report import ReportConfig, write_report
from scanner.query import open_run
from scanner.run.decision_log import DecisionLog
from scanner.run.decisions import Change, Entry, Statement
from scanner.storage import Store
from tests.report.verified_runs import verified_run


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
