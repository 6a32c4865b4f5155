"""The standard streams: text in any locale, without a traceback."""

import contextlib
import io
import os
import sys


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
