"""The standard streams: text in any locale, without a traceback."""

import contextlib
import io
import logging
import os
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Any

from jobs.escaping import escaped
from scanner.credentials import without_secrets


def prepare_streams() -> None:
    """Have what a stream's encoding lacks written as backslash escapes.

    A pipe or file gets UTF-8 whatever the locale is, unless PYTHONIOENCODING asks for another
    encoding; a terminal gets its own.
    """
    asked = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            keep = asked or stream.isatty()
            stream.reconfigure(encoding=None if keep else "utf-8", errors="backslashreplace")


def escapes_json() -> bool:
    """Whether JSON on standard output has to be ASCII: \\xe9 for an é would be no JSON."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "") != "utf8"


def as_text(word: str) -> str:
    """A word of the command line as UTF-8 where the locale's encoding could not read it, unless it
    names a file, which is found by the word as it is."""
    if word.isascii() or os.path.lexists(word):
        return word
    try:
        word.encode()
    except UnicodeEncodeError:  # bytes that were not decoded
        with contextlib.suppress(UnicodeDecodeError):
            return os.fsencode(word).decode()
    return word


def escape_messages() -> None:
    """Have what Python and its libraries say to standard error steer no terminal: tracebacks,
    warnings and records of logging may quote a caption or a file's name."""
    sys.excepthook = _show_traceback
    threading.excepthook = _show_thread_traceback
    warnings.formatwarning = _formatted_warning
    logging.setLogRecordFactory(_EscapedRecord)


class _EscapedRecord(logging.LogRecord):
    def getMessage(self) -> str:
        return escaped(without_secrets(super().getMessage()))


_plain_warning = warnings.formatwarning


def _formatted_warning(*what: Any, **more: Any) -> str:
    return escaped(without_secrets(_plain_warning(*what, **more)))


def _show_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    lines = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(escaped(without_secrets(lines)))


def _show_thread_traceback(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        _show_traceback(failed.exc_type, failed.exc_value, failed.exc_traceback)
