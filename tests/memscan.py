"""memscan as its user calls it, in a process of its own or, for time's sake, in this one."""

import contextlib
import importlib
import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.forking import forking_python

SECONDS = 900


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def memscan(*words: str, check: bool = True, folder: Path | None = None) -> Done:
    """A process in a folder; with ``check`` it has to end well."""
    done = subprocess.run(
        [forking_python(), "-m", "jobs.cli", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0 or not check, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def called(command: str, *words: str, check: bool = True) -> Done:
    """The same without a process, which takes seconds to load the libraries."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = importlib.import_module(f"jobs.{command.replace('-', '_')}").main(words)
        except SystemExit as end:  # the parser's own errors
            status = end.code if isinstance(end.code, int) else 1
    assert status == 0 or not check, err.getvalue()
    return Done(status, out.getvalue(), err.getvalue())
