"""Records of a run by others, through the commands that read it: refused in a line, or harmless."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.curation.runs import loudness, make_run
from tests.memscan import called
from tests.query.test_verdicts import join
from tests.run.test_records import changed

DEEP: Any = 7
for _ in range(300):
    DEEP = [DEEP]
POLICY = """
name = "p"
version = 1
[[rule]]
reason = "copied"
when = "verdict = 'verbatim'"
action = "drop"
"""
WHOLE = (b"", b"{", b"\xff\xfe", b"[" * 100_000, b" " * 1_000_000)
# Of each file, a command that reads it.
READ_BY = {
    "run.json": "rank",
    "manifest-0001.json": "report",
    "verdicts/commits/v.0.json": "rank",
    "plan.json": "curate",
}
CHANGES: tuple[tuple[str, str, tuple, Any], ...] = (
    ("rank", "run.json", ("fingerprint",), DEEP),
    ("curate", "run.json", ("inputs", "captions"), ["s3://elsewhere/x"]),
    ("report", "run.json", ("model", "name"), "http://127.0.0.1:9/x"),
    ("report", "run.json", ("model", "name"), "y" * 200_000),
    ("report", "run.json", ("options",), {"model": {"config": None}}),
    ("curate", "plan.json", ("generations", 0, "slices", "rows", 0), -1),
    ("curate", "plan.json", ("generations", 0, "counts"), {"captions": 10**30}),
    ("curate", "plan.json", ("generations", 0, "inputs", 0, "url"), "a\0\x1b[31m\nb"),
    ("report", "manifest-0001.json", ("counts",), {}),
    ("report", "manifest-0001.json", ("counts",), {"rows": float("nan")}),
    ("rank", "manifest-0001.json", ("scores", 0, "path"), "s3://elsewhere/x"),
    ("rank", "manifest-0001.json", ("captions", 0), "y" * 200_000),
    ("rank", "verdicts/commits/v.0.json", ("parts", 0, "path"), "samples/../../x"),
    ("rank", "verdicts/commits/v.0.json", ("parts", 0, "rows"), 1e308),
)


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("hostile")
    (top / "d").mkdir()
    (top / "d/a.csv").write_text("key,caption\nk1,loud\nk2,quiet\n")
    options = {"model": {"name": "testbed", "config": None}, "scoring": {"profile": "triage"}}
    record = {"options": options, "model": {"name": "testbed", "revision": None}}
    run = make_run(top / "run", loudness, captions=(str(top / "d"),), record=record)
    join(run, "v", 1.0, {"x": "verbatim"})
    (top / "p.toml").write_text(POLICY)
    return top


def refused_or_harmless(top: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status, the command's output being short and its files in --out."""
    before = {path for path in top.rglob("*") if "out" not in path.relative_to(top).parts}
    words = {"rank": (), "curate": ("--out", f"{top}/out/list", "--policy", f"{top}/p.toml")}
    words["report"] = ("--out", f"{top}/out/report.html", "--policy", f"{top}/p.toml")

    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "connect", refuse)
        done = called(command, f"{top}/run", *words[command], check=False)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 5_000
    assert done.stderr.count("\n") < 12
    assert "\x1b" not in done.stderr + done.stdout
    assert {path for path in top.rglob("*") if "out" not in path.relative_to(top).parts} == before
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("name", READ_BY)
def test_a_file_that_is_not_a_record_is_refused(
    name: str, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (top / "run" / name).read_bytes()
    try:
        for data in WHOLE:
            (top / "run" / name).write_bytes(data)
            assert refused_or_harmless(top, READ_BY[name], monkeypatch) == 1
    finally:
        (top / "run" / name).write_bytes(before)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "name", "path", "value"), CHANGES)
def test_a_record_with_a_hostile_value_does_no_harm(
    command: str, name: str, path: tuple, value: Any, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (top / "run" / name).read_bytes()
    (top / "run" / name).write_text(json.dumps(changed(json.loads(before), path, value)))
    try:
        refused_or_harmless(top, command, monkeypatch)
    finally:
        (top / "run" / name).write_bytes(before)
