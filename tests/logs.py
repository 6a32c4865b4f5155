"""Collect what the logger memscan is given; unlike caplog, in fixtures of any scope too."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Collector(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def logged(lines: list[str] | None = None) -> Iterator[list[str]]:
    """Append the messages logged within to ``lines`` (a new list by default)."""
    logger, level = logging.getLogger("memscan"), logging.getLogger("memscan").level
    collector = _Collector([] if lines is None else lines)
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    try:
        yield collector.lines
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)
