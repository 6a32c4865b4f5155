"""Messages of the logger ``memscan`` on standard error: text for people, or JSON for machines."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from jobs.console.escaping import escaped, json_text, printable
from scanner.credentials import without_secrets

LogFormat = Literal["text", "json"]
# Attributes of a record, set through ``extra``, that JSON shows where they are known.
FIELDS = ("run", "slice", "node", "device")
# Maximum size of a message in text: a name from an untrusted file can be endless.
LINE_CHARACTERS = 2000
LINES = 40
# Of a message that a heartbeat repeats.
MESSAGE_CHARACTERS = 120


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """How messages are written."""

    log_format: LogFormat = "text"
    """Format of messages on standard error: text, or json (one object per line with time, level
    and message, and run, slice, node and device where known)."""


class TextFormatter(logging.Formatter):
    """One line per record, with every control character escaped.

    ``complaint`` (through ``extra``) prefixes the program's name; ``multiline`` keeps line breaks.
    """

    def format(self, record: logging.LogRecord) -> str:
        name = "memscan: " if getattr(record, "complaint", False) else ""
        escape = escaped if getattr(record, "multiline", False) else printable
        lines = escape(name + _message(record)).split("\n")
        shown = [*lines[:LINES], *(["…"] if len(lines) > LINES else [])]
        return "\n".join(map(_shortened, shown))


class JsonFormatter(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": _message(record),
        }
        known = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        line |= {name: without_secrets(str(value)) for name, value in known.items()}
        return json_text(line, ascii_only=True, indent=None)


class StderrHandler(logging.Handler):
    """Writes to whatever standard error is at the time; a reader that has gone is an error."""

    def emit(self, record: logging.LogRecord) -> None:
        global _last_output, _last_message
        if getattr(record, "beat", False):
            _last_output = time.monotonic()
        else:
            note_output()
            _last_message = _first_line(record) if record.levelno == logging.INFO else ""
        print(self.format(record), file=sys.stderr, flush=True)


_last_output = 0.0
_last_message = ""


def note_output() -> None:
    """Note that something is printed now, on either stream."""
    global _last_output, _last_message
    _last_output, _last_message = time.monotonic(), ""


def last_output() -> float:
    """Return when something was printed last, by the monotonic clock; 0 for never."""
    return _last_output


def last_message() -> str:
    """Return the first line of the message that was logged last, if nothing was printed since.

    Heartbeats do not count. "" for no message, and after a warning.
    """
    return _last_message


def forget_message() -> None:
    """Forget the last message, which was another command's."""
    global _last_message
    _last_message = ""


_handler = StderrHandler()
_handler.setFormatter(TextFormatter())


@contextlib.contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Show the messages of ``memscan`` while a command runs; commands may call each other."""
    logger = logging.getLogger("memscan")
    if _handler in logger.handlers:
        yield
        return
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(_handler)
    try:
        yield
    finally:
        logger.removeHandler(_handler)
        logger.setLevel(level)
        set_format("text")


def set_format(log_format: LogFormat) -> None:
    _handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())


def is_json() -> bool:
    """Return whether messages are JSON, among which a progress bar has no place."""
    return isinstance(_handler.formatter, JsonFormatter)


def _message(record: logging.LogRecord) -> str:
    """Return the message as it was logged: the process's record class escapes it for terminals."""
    return without_secrets(logging.LogRecord.getMessage(record))


def _first_line(record: logging.LogRecord) -> str:
    line = _message(record).split("\n")[0]
    return line if len(line) <= MESSAGE_CHARACTERS else f"{line[:MESSAGE_CHARACTERS]} …"


def _shortened(line: str) -> str:
    """Return a line without its middle if it is too long."""
    half = LINE_CHARACTERS // 2
    return line if len(line) <= LINE_CHARACTERS else f"{line[:half]} … {line[-half:]}"
