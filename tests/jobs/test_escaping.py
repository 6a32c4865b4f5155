"""No untrusted text reaches the terminal with control characters."""

import ast
import csv
import io
import json
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import jobs
from jobs.console.escaping import escaped, json_text, printable
from jobs.console.logs import logging_to_stderr
from jobs.console.progress import ProgressLine
from jobs.console.tables import write_table
from jobs.console.terminal import print_rejects, warn
from scanner.run import Run
from tests.memscan import called
from tests.query.runs import make_run, trigger

KINDS = ("Cc", "Cf", "Cs", "Zl", "Zp")
STEERING = [chr(code) for code in range(0xF0000) if unicodedata.category(chr(code)) in KINDS]
KNOWN = (
    "\x00\x07\x08\x0b\r\x1b\x7f\x85\x9b\u200b\u200e\u202a\u202e\u2028\u2029\u2066\u2069\ufeff\ud800"
)
HOSTILE = (
    f"red\x1b[31m \x1b]0;title\x07 back\x08\x08 c1\x9b31m{KNOWN[1:-1]} [bold]not markup[/bold]"
)


def _steering(text: str) -> set[str]:
    return {one for one in text if unicodedata.category(one) in KINDS and one not in "\n\t"}


def test_every_control_character_is_escaped() -> None:
    assert set(KNOWN) <= set(STEERING)
    assert _steering(escaped("".join(STEERING))) == set()
    assert not set("\n\t") & set(printable("".join(STEERING)))
    assert printable("\x1b[2J\u202e\n") == r"\x1b[2J\u202e\n"
    assert escaped("a\n\tb\r") == "a\n\tb\\r"


def test_ordinary_text_is_unchanged() -> None:
    for text in ("plain", "中文\u3000字", "é\u00a0ça", "🙂❤️", "עברית", "e\u0301", "[red]"):
        assert printable(text) == escaped(text) == text


@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_is_exact_and_has_no_control_characters(ascii_only: bool) -> None:
    text = " ".join(STEERING)
    record = {text: [text, "中\u3000", 1.5, None]}
    text = json_text(record, ascii_only)
    assert _steering(text) == set()
    assert json.loads(text) == record


def _damaged(run: str) -> None:
    """Have all that status tells of a run be hostile."""
    store = Run.existing(run).store
    record: dict[str, Any] = {"slice": HOSTILE, "reason": HOSTILE, "error": HOSTILE}
    store.write(f"quarantine/{'0' * 6}.json", json.dumps(record).encode())


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    caption = f"a {HOSTILE} \U000e0041 cat"
    place = make_run(
        folder / "run",
        [
            {
                "caption_id": f"{n:032x}",
                "caption": f"{caption} {n}",
                "source": f"s3://{HOSTILE}/{n}",
            }
            | {"noise_norm_first": float(n), "bos_mass": 0.1, "entropy_e": 0.1, "n_samples": 2}
            | {"url": HOSTILE, "triggers": [trigger(caption, "red\x1b[31m")]}
            for n in range(1, 6)
        ],
        [
            {"source": HOSTILE, "row": 1, "key": HOSTILE, "stage": stage, "reason": HOSTILE}
            for stage in ("plan", "scan")
        ],
        record={"model": {"name": HOSTILE, "revision": HOSTILE}, "options": {}},
    )
    _damaged(place)
    return place


COMMANDS_ON_IT = [
    ("status",),
    ("status", "--json"),
    ("rank",),
    ("rank", "--format", "table"),
    ("rank", "--json"),
    ("sql", "SELECT * FROM samples"),
    ("sql", 'SELECT caption AS "\x1b[31m\u202e" FROM captions'),
    ("sql", "SELECT * FROM rejects", "--json"),
    ("sql", "SELECT \x1b[31m FROM captions"),
    ("sql", "SELECT error(caption) FROM captions"),
    ("curate", "--out", "{out}/list", "--force"),
    ("curate", "--out", "{out}/list-\x1b[31m", "--image-key", "\x1b[31m"),
    ("calibrate", "--labels", "{out}/no-\x1b[31m\u202e.csv"),
    ("verify", "--top", "-1\x1b[31m"),
    ("scan", "--captions", "no-\x1b[31m\u202e.csv", "--out", "x", "--model", "testbed"),
]


@pytest.mark.parametrize(
    "words",
    COMMANDS_ON_IT,
    ids=lambda words: " ".join(words[:2])[:30].encode("unicode_escape").decode(),
)
def test_no_command_prints_a_hostile_runs_control_characters(
    words: tuple[str, ...], hostile_run: str, tmp_path: Path
) -> None:
    command, *rest = (word.replace("{out}", str(tmp_path)) for word in words)
    done = called(command, *([] if command == "scan" else [hostile_run]), *rest, check=False)
    assert done.stdout + done.stderr
    assert _steering(done.stdout + done.stderr) == set()


def test_a_reason_cannot_add_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_rejects({"bad\nsealed     yes": 1})
    with logging_to_stderr():
        warn("one\nmemscan: two")
    shown = capsys.readouterr()
    assert shown.out.count("\n") == shown.err.count("\n") == 1


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_csv_is_exact_in_a_pipe_and_escaped_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"caption": ["a\x1b[31m", "plain\r\nlines"]})
    shown = {}
    for stream in (io.StringIO(), _Terminal()):
        monkeypatch.setattr(sys, "stdout", stream)
        write_table(table, "csv", None)
        shown[stream.isatty()] = stream.getvalue()
    assert [row for (row,) in csv.reader(io.StringIO(shown[False], newline=""))][1:] == [
        "a\x1b[31m",
        "plain\r\nlines",
    ]
    assert shown[True] == 'caption\na\\x1b[31m\n"plain\nlines"\n'


PYTHON = r"""
import logging, sys, threading, warnings
from jobs.console.terminal import run
def body():
    logging.getLogger("diffusers").warning("truncated: %s", "log\x1b[31m")
    warnings.warn("warning\x1b[31m")
    thread = threading.Thread(target=lambda: 1 / int("thread\x1b[31m"))
    thread.start(); thread.join()
    sys.stderr.flush()
    raise KeyError("error\x1b[31m\u202e", RuntimeError("cause\x1b[31m"))
run(body)
"""


def test_logs_warnings_and_tracebacks_are_escaped() -> None:
    done = subprocess.run([sys.executable, "-c", PYTHON], capture_output=True, check=False)
    shown = done.stderr.decode()
    for word in ("log", "warning", "thread", "error"):
        assert word + r"\x1b[31m" in shown.replace("\\\\", "\\")
    assert "Traceback" in shown
    assert _steering(shown) == set()


@pytest.mark.slow
def test_only_the_escaping_functions_write_to_the_terminal() -> None:
    """What a command shows goes through show, the log or the tables."""
    allowed = {"terminal.py": 2, "logs.py": 1, "cli.py": 2}
    for path in Path(jobs.__file__).parent.rglob("*.py"):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        ]
        assert len(calls) <= allowed.get(path.name, 0), f"{path}: show() or log"


def test_a_progress_bar_shows_no_markup_or_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := _Terminal())
    with ProgressLine() as line:
        line.show(1, 2, "\x1b]0;title\x07[red]caption[/red]")
    shown = stream.getvalue()
    assert r"\x1b]0;title\x07[red]caption[/red]" in shown
    assert "\x07" not in shown
