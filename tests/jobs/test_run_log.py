"""Messages of a command that are kept beside its run."""

import json
import logging
from pathlib import Path

import pytest

from jobs.console import run_log
from jobs.console.logs import logging_to_stderr
from jobs.console.run_log import messages_kept
from scanner.errors import UserError
from scanner.run import Run
from scanner.storage import Store
from tests.memscan import called
from tests.run.planned import planned_run, slices_of
from tests.waiting import wait_until
from tests.whole_scans import SCAN, write_captions

log = logging.getLogger("memscan.scan")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return planned_run(tmp_path, slices_of(1))[0]


def _kept(run: Run) -> list[list[dict]]:
    """The lines of each file."""
    names = run.store.names("logs")
    return [[json.loads(line) for line in run.store.read(name).splitlines()] for name in names]


def test_messages_and_the_error_that_ends_are_kept(run: Run) -> None:
    def fail(error: Exception) -> None:
        with logging_to_stderr(), messages_kept(run):
            log.warning("slice 7 failed: s3://key:secret@bucket/x", extra={"slice": "7"})
            raise error

    with pytest.raises(UserError):
        fail(UserError("no GPU"))
    ((first, last),) = _kept(run)
    assert (first["level"], first["slice"]) == ("warning", "7")
    assert "secret" not in first["message"]
    assert (last["level"], last["message"]) == ("error", "no GPU")
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError("of ours"))
    assert "in fail\n    raise error\n" in _kept(run)[1][1]["message"]
    log.warning("after the command")
    assert len(_kept(run)) == 2


def test_messages_are_saved_while_the_command_runs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "SAVE_SECONDS", 0.01)
    with logging_to_stderr(), messages_kept(run):
        log.info("one")
        wait_until(lambda: _kept(run), "nothing is saved")
    assert [line["message"] for line in _kept(run)[0]] == ["one"]


def test_only_the_middle_of_many_messages_is_left_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "FIRST_BYTES", 1000)
    monkeypatch.setattr(run_log, "LAST_BYTES", 1000)
    with logging_to_stderr(), messages_kept(run):
        for number in range(100):
            log.info(f"message {number}")
    (lines,) = _kept(run)
    words = [line["message"] for line in lines]
    (gap,) = [place for place, text in enumerate(words) if "left out" in text]
    left_out = int(words[gap].split()[1])
    assert words[:gap] == [f"message {number}" for number in range(gap)]
    assert words[gap + 1 :] == [f"message {number}" for number in range(gap + left_out, 100)]
    assert sum(len(run.store.read(name)) for name in run.store.names("logs")) < 2100


def test_the_newest_files_stay(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "FILES", 2)
    for year in (2001, 2002, 2003):
        run.store.write(f"logs/{year}-01-01T00-00-00Z-abc.jsonl", b"{}\n")
    with logging_to_stderr(), messages_kept(run):
        log.info("newest")
    assert [lines[0].get("message") for lines in _kept(run)] == [None, "newest"]


def test_nothing_is_written_where_there_is_no_run(tmp_path: Path) -> None:
    with logging_to_stderr(), messages_kept(Run(Store(str(tmp_path / "other")))):
        log.info("one")
    assert not (tmp_path / "other/logs").exists()


def test_a_store_that_refuses_them_is_one_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("denied")

    monkeypatch.setattr(Store, "write", refuse)
    with logging_to_stderr(), messages_kept(run):
        log.info("one")
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning.endswith("denied")


def test_a_write_that_failed_is_repeated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write, failures = Store.write, [OSError("busy")]

    def fail_once(store: Store, name: str, data: bytes) -> str:
        if failures:
            raise failures.pop()
        return write(store, name, data)

    monkeypatch.setattr(Store, "write", fail_once)
    monkeypatch.setattr(run_log, "SAVE_SECONDS", 0.01)
    with logging_to_stderr(), messages_kept(run):
        log.info("one")
        wait_until(lambda: not failures, "nothing is saved")
    assert _kept(run)[0][0]["message"] == "one"


@pytest.mark.slow
def test_a_scan_keeps_its_messages(tmp_path: Path) -> None:
    captions, out = tmp_path / "captions.csv", str(tmp_path / "run")
    write_captions(captions, rows=4, distinct=4)
    called(*SCAN, "--captions", str(captions), "--out", out)
    (lines,) = _kept(Run.existing(out))
    assert any(line["message"].startswith("planned: 4 rows") for line in lines)
