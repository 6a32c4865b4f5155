"""A command that prints nothing for a while says that it works."""

import itertools
import logging
from types import SimpleNamespace

import pytest

from jobs.console import heartbeat
from jobs.console.logs import last_message, logging_to_stderr, note_output
from jobs.console.terminal import run
from tests.waiting import wait_until


class Clock:
    """The time of a thread that waits, and when something was printed last."""

    def __init__(self, ends: float, outputs: tuple[float, ...] = ()) -> None:
        self.now, self.ends, self.outputs = 100.0, 100.0 + ends, [100.0 + t for t in outputs]
        self.lines: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now > self.ends

    def last_output(self) -> float:
        return max((t for t in [*self.outputs, *self.lines] if t <= self.now), default=0.0)


def _lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return when lines are logged, in seconds since the start."""
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(heartbeat, "last_output", clock.last_output)
    monkeypatch.setattr(
        heartbeat, "log", SimpleNamespace(info=lambda line, extra: clock.lines.append(clock.now))
    )
    heartbeat._beat("rank", clock)  # type: ignore[arg-type]
    return [round(t - 100, 1) for t in clock.lines]


def test_the_first_line_comes_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = _lines(Clock(ends=30), monkeypatch)
    assert first < 1.5
    assert second - first == pytest.approx(heartbeat.SECONDS, abs=0.5)


def test_later_lines_are_further_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _lines(Clock(ends=400), monkeypatch)
    gaps = [late - early for early, late in itertools.pairwise(lines)]
    assert gaps[:4] == pytest.approx([12, 24, 48, 60], abs=0.5)
    assert gaps[4:] == pytest.approx([60] * len(gaps[4:]), abs=0.5)


def test_after_other_output_lines_are_close_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _lines(Clock(ends=140, outputs=(100.0,)), monkeypatch)
    after = [line for line in lines if line > 100]
    assert after[0] - 100 == pytest.approx(heartbeat.SECONDS, abs=0.5)


def test_a_message_is_forgotten_once_something_else_is_shown() -> None:
    log = logging.getLogger("memscan")
    with logging_to_stderr():
        log.info("reading the run\nof two lines")
        assert last_message() == "reading the run"
        note_output()
        assert last_message() == ""
        log.info("reading again")
        log.warning("few labels")
        assert last_message() == ""


def test_other_lines_postpone_it(monkeypatch: pytest.MonkeyPatch) -> None:
    every_ten_seconds = (0.5, 10.5, 20.5, 30.5)
    assert _lines(Clock(ends=40, outputs=every_ten_seconds), monkeypatch) == []


def test_a_paused_command_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat.pause()
    try:
        assert _lines(Clock(ends=30), monkeypatch) == []
    finally:
        heartbeat.resume()


def test_a_command_s_line_names_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(heartbeat, "POLL_SECONDS", 0.01)

    def command() -> int:
        with heartbeat.heartbeat("rank"), heartbeat.heartbeat("inner"):
            wait_until(lambda: caplog.messages != [], "no line")
        return 0

    with caplog.at_level(logging.INFO, "memscan"), logging_to_stderr():
        assert run(command) == 0
    assert caplog.messages == ["rank: working, 0 s so far"]


@pytest.mark.slow
def test_a_line_says_what_was_begun(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(heartbeat, "SECONDS", 0.1)
    monkeypatch.setattr(heartbeat, "POLL_SECONDS", 0.01)
    shown = caplog.at_level(logging.INFO, "memscan"), logging_to_stderr()
    with shown[0], shown[1], heartbeat.heartbeat("rank"):
        logging.getLogger("memscan").info("reading the run")
        wait_until(lambda: len(caplog.messages) > 3, "no lines")
    assert caplog.messages[-1].endswith("; last: reading the run")
