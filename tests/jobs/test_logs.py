"""Messages on standard error, for people and for machines."""

import json
import logging
from pathlib import Path

import pytest

from jobs.console.logs import JsonFormatter, TextFormatter, logging_to_stderr, set_format
from scanner.run import Run
from tests.memscan import memscan
from tests.whole_scans import SCAN, write_captions

log = logging.getLogger("memscan.scan")
HOSTILE = "one\nmemscan: two\x1b[31m s3://key:secret@bucket/x?X-Amz-Signature=abc"


def test_a_message_is_one_escaped_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr():
        log.info(HOSTILE, extra={"slice": "12"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(r"one\nmemscan: two\x1b[31m s3://")
    assert "secret" not in line
    assert "abc" not in line


def test_json_has_the_fields_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr():
        set_format("json")
        log.warning(HOSTILE, extra={"run": "s3://key:secret@b/run", "slice": "12", "other": 1})
        log.info("100 % done")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["slice"]) == ("warning", "12")
    assert first["message"].startswith("one\nmemscan: two\x1b[31m s3://")
    assert "secret" not in first["message"] + first["run"]
    assert "other" not in first
    assert second.keys() == {"time", "level", "message"}
    assert second["message"] == "100 % done"


def test_nested_commands_log_each_message_once(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr():
        with logging_to_stderr():
            log.info("inner")
        log.info("outer")
    log.info("after")
    assert capsys.readouterr().err.splitlines() == ["inner", "outer"]


def test_only_an_error_for_people_has_several_lines() -> None:
    record = logging.makeLogRecord({"msg": "a\nb", "complaint": True})
    assert TextFormatter().format(record) == r"memscan: a\nb"
    record.multiline = True
    assert TextFormatter().format(record) == "memscan: a\nb"
    assert json.loads(JsonFormatter().format(record))["message"] == "a\nb"


def test_a_whole_scan_logs_json_when_asked(tmp_path: Path) -> None:
    captions, out = tmp_path / "captions.csv", str(tmp_path / "run")
    write_captions(captions, rows=10, distinct=10)
    words = (*SCAN, "--captions", str(captions), "--out", out, "--log-format", "json")
    done = memscan(*words)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["level"] for line in lines} == {"info"}
    assert any(line["message"].startswith("planned: 10 rows") for line in lines)
    assert Run.existing(out).is_finished()
