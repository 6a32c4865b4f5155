"""Progress of a running scan, on a terminal and in a log."""

import os
import pty
import select
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jobs.console import progress
from scanner.run.progress import Progress

SHOW = """
from jobs.console.progress import ScanProgress
from scanner.run.progress import PlanningProgress, Progress
from jobs.console.logs import logging_to_stderr
logs = logging_to_stderr()
logs.__enter__()
progress = ScanProgress()
progress(PlanningProgress("start", 0))
progress._last = 0.0
progress(PlanningProgress("read", 40, 7, actors=2))
progress._last = 0.0
progress(PlanningProgress("merge", 16, 4, actors=2))
progress._last = 0.0
progress(PlanningProgress("image_group", 9, 5, actors=2))
progress._last = 0.0
progress(PlanningProgress("group", 12, 3, actors=2))
progress._last = 0.0
state = Progress(8, 4096, captions_done=500, running={'1': 12}, actors=3)
state.started, state.updated = 100.0, 110.0
progress(state)
progress.__exit__()
"""
LINES = (
    "starting Ray",
    "planning: 7 of 40 input parts read, 2 actors",
    "planning: 4 of 16 ranges of caption ids merged, 2 actors",
    "planning: 5 of 9 ranges of image ids grouped, 2 actors",
    "planning: 3 of 12 ranges of caption ids grouped, 2 actors",
    "512 of 4,096 captions, 51.2 per second, 3 actors, 70 s left",
)


def test_without_a_terminal_progress_is_plain_lines() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == list(LINES)
    assert done.stdout == ""


def test_a_repeated_line_is_logged_once_per_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock))
    caplog.set_level("INFO", "memscan")
    waiting, working = Progress(8, 372), Progress(8, 372, captions_done=12)
    logged = []
    with progress.ScanProgress() as shown:
        for clock in range(0, 200, 2):
            caplog.clear()
            shown(waiting if clock < 150 else working)
            logged += [(clock, message) for message in caplog.messages]
    starting, begun = "0 of 372 captions, starting", "12 of 372 captions, starting"
    assert logged == [(0, starting), (62, starting), (124, starting), (150, begun)]


def test_on_a_terminal_a_bar_shows_progress() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    shown = subprocess.Popen([sys.executable, "-c", SHOW], stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 120)
        assert ready, f"no more is shown after {text!r}"
        try:
            more = os.read(ours, 4096)
        except OSError:  # Linux's end of a terminal whose other side is closed
            break
        if not more:
            break
        text += more
    os.close(ours)
    assert shown.wait(120) == 0
    assert LINES[-1] in text.decode()
    assert "━" in text.decode()


def test_small_amounts_keep_two_digits() -> None:
    shown = [progress.amount(number) for number in (1234.567, 0.1, 0.0123, 7.14e-5, 0.0)]
    assert shown == ["1,234.57", "0.10", "0.012", "0.000071", "0.00"]
