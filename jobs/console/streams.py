"""Standard streams that take any text in any locale."""

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

from jobs.console.escaping import escaped
from scanner.credentials import without_secrets


def prepare_streams() -> None:
    """Write characters that a stream's encoding lacks as backslash escapes.

    A pipe or file gets UTF-8 in any locale, unless PYTHONIOENCODING names another encoding; a
    terminal gets its own.
    """
    named = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            keep = named or stream.isatty()
            stream.reconfigure(encoding=None if keep else "utf-8", errors="backslashreplace")


def escapes_json() -> bool:
    """Return whether JSON on standard output must be ASCII: ``\\xe9`` for an é is not JSON."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "") != "utf8"


def as_text(word: str) -> str:
    """Return an argument decoded as UTF-8 if the locale's encoding could not decode it.

    An argument that names an existing file is returned unchanged.
    """
    if word.isascii() or os.path.lexists(word):
        return word
    try:
        word.encode()
    except UnicodeEncodeError:  # bytes that were not decoded
        with contextlib.suppress(UnicodeDecodeError):
            return os.fsencode(word).decode()
    return word


def escape_messages() -> None:
    """Escape what Python and libraries write to standard error, so that it cannot control a
    terminal: tracebacks, warnings and log records may quote a caption or a file name."""
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
