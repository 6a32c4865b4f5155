"""Show that a command is alive: log a line if it has printed nothing for a while."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from jobs.console.logs import forget_message, last_message, last_output

log = logging.getLogger("memscan")

# Before the first line; after other output; and at most.
FIRST_SECONDS, SECONDS, MOST_SECONDS = 1.0, 12.0, 60.0
POLL_SECONDS = 0.2

_is_running = threading.Event()
_is_paused = threading.Event()


@contextlib.contextmanager
def heartbeat(command: str) -> Iterator[None]:
    """Log a line if nothing is printed for FIRST_SECONDS, and then whenever nothing is for SECONDS,
    twice as long after each line, up to MOST_SECONDS. It repeats the last message, which says what
    takes so long.

    Commands may call each other: only the outermost has lines.
    """
    if _is_running.is_set():
        yield
        return
    ended = threading.Event()
    _is_running.set()
    _is_paused.clear()
    forget_message()
    thread = threading.Thread(target=_beat, args=(command, ended), daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _is_running.clear()


def pause() -> None:
    """Log no more lines: the command shows a bar, or waits for its user."""
    _is_paused.set()


def resume() -> None:
    _is_paused.clear()


def _beat(command: str, ended: threading.Event) -> None:
    began, limit, lines, own = time.monotonic(), FIRST_SECONDS, 0, 0.0
    while not ended.wait(POLL_SECONDS):
        now, last = time.monotonic(), last_output()
        if last > began:
            lines = lines if last == own else 0
            limit = min(SECONDS * 2 ** max(0, lines - 1), MOST_SECONDS)
        if _is_paused.is_set() or now - max(began, last) < limit:
            continue
        lines += 1
        doing = f"; last: {last_message()}" if last_message() else ""
        log.info(f"{command}: working, {now - began:.0f} s so far{doing}", extra={"beat": True})
        own = last_output()
