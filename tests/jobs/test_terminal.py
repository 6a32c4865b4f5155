"""Signals, encodings and errors of the machine end in one line, never in a traceback."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from ray.exceptions import RaySystemError

from jobs.console.terminal import run
from scanner.storage import Store
from tests.waiting import wait_until

SLEEPING = """
import pathlib, sys, time
from jobs.console.terminal import run
def body():
    try:
        pathlib.Path(sys.argv[1], "begun").touch()
        time.sleep(600)
    finally:
        pathlib.Path(sys.argv[1], "tidied").touch()
sys.exit(run(body))
"""
POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPING, str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    wait_until((tmp_path / "begun").exists, "the command has not started")
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert shown == "memscan: stopped; rerun the same command to resume\n"
    assert (tmp_path / "tidied").exists()


def test_sigterm_within_a_finalizer_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    class Thing:
        pass

    def body() -> int:
        thing = Thing()
        # Python drops what is raised in this callback.
        reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del thing
        assert reference() is None
        time.sleep(60)
        return 0

    hook = sys.unraisablehook
    assert run(body) == 130
    assert capsys.readouterr().err == "memscan: stopped; rerun the same command to resume\n"
    assert sys.unraisablehook is hook


def _python(code: str, *words: str, **environment: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.stdout + done.stderr


CLI = "import sys; from jobs.cli import main; sys.exit(main())"
INTERRUPTED = """
import signal, sys
from jobs import cli

class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "jobs.console.terminal":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
signal.signal(signal.SIGINT, signal.default_int_handler)
print(cli.main())
"""
TABLE = r"""
import sys, pyarrow as pa
from jobs.console.tables import write_table
from jobs.console.terminal import run
table = pa.table({"x": ["\u4e2d\xe9\U0001f600"]})
run(lambda: print(file=sys.stderr) or write_table(table, sys.argv[1], None) or 0)
"""


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, POSIX], ids=str
)
def test_no_encoding_of_a_terminal_is_a_traceback(environment: dict[str, str]) -> None:
    assert b"usage: memscan COMMAND" in _python(CLI, "--help", **environment)
    assert b"did you mean scan?" in _python(CLI, "scän", **environment)
    for form in ("csv", "table"):
        assert b"x" in _python(TABLE, form, **environment)
    rows = json.loads(_python(TABLE, "json", **environment).decode("latin-1").strip())
    assert len(rows[0]["x"]) >= 3


def test_a_pipe_gets_utf_8_unless_another_encoding_is_named() -> None:
    assert "中é😀".encode() in _python(TABLE, "csv", **POSIX)
    assert b"\\u4e2d\xe9\\U0001f600" in _python(TABLE, "csv", PYTHONIOENCODING="latin-1")
    named = _python(TABLE, "json", PYTHONIOENCODING="ascii")
    assert json.loads(named)[0]["x"].startswith("中é😀")


def test_ctrl_c_while_memscan_loads_is_no_traceback() -> None:
    assert _python(INTERRUPTED, "scan") == b"130\nmemscan: stopped\n"


SHOWS = "import sys; from jobs.console.streams import as_text; print(ascii(as_text(sys.argv[1])))"


def test_arguments_are_utf_8_in_any_locale() -> None:
    assert _python(SHOWS, "SELECT 'é'", **POSIX).strip() == rb'"SELECT ' + rb"'\xe9'" + b'"'


def _line(error: Exception, capsys: pytest.CaptureFixture[str]) -> str:
    def fail() -> int:
        raise error

    assert run(fail) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "grant access"),
        (errno.EROFS, "grant access"),
        (errno.EMFILE, "raise the limit"),
        (errno.EIO, "the disk"),
    ],
)
def test_an_error_of_a_local_file_names_it_and_the_remedy(
    number: int, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _line(OSError(number, os.strerror(number), "/data/run/x"), capsys)
    assert line.startswith(f"memscan: /data/run/x: {os.strerror(number)}; {remedy}")
    for word in ("storage", "AWS", "credentials"):
        assert word not in line


def test_other_errors_are_not_called_storage_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    socket = _line(OSError("AF_UNIX path length cannot exceed 107 bytes"), capsys)
    assert socket == "memscan: OSError: AF_UNIX path length cannot exceed 107 bytes\n"
    ray = _line(RaySystemError("the raylet died"), capsys)
    assert ray.startswith("memscan: Ray: RaySystemError: ")
    assert "rerun the same command" in ray


def test_advice_about_s3_is_given_of_s3_only(capsys: pytest.CaptureFixture[str]) -> None:
    refused = ClientError({"Error": {"Code": "403", "Message": "no"}}, "PutObject")
    of_s3 = _line(refused, capsys)
    assert of_s3.startswith("memscan: storage: ClientError")
    assert "AWS_ENDPOINT_URL and the credentials" in of_s3
    store = Store("memory://bucket", single_writer=True)
    with pytest.raises(FileNotFoundError) as missing:
        store.read("nothing")
    other = _line(missing.value, capsys)
    assert other.startswith("memscan: storage: memory://bucket: FileNotFoundError")
    assert "AWS" not in other


def test_an_unexpected_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
