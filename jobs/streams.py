"""The standard streams: text in any locale, without a traceback."""

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
