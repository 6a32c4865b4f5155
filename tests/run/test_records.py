"""Records of a run that are damaged, foreign or hostile: one clear line each, never a traceback."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.status import main as status
from scanner.errors import UserError
from scanner.query import open_run
from scanner.run import Run
from scanner.run.json_files import RunRecord
from scanner.run.progress import Progress
from scanner.run.records import DamagedFile, read_json
from tests.curation.runs import loudness, make_run

WRONG: list[Any] = [None, 7, "x", [1], {"a": 1}, -1, 1.5, True]
OUTSIDE = [
    "../../x",
    "/etc/passwd",
    "file:///etc/passwd",
    "simplecache::b",
    "%2e%2e/x",
    "a\\b",
    "a//b",
    "..",
]
RECORDS = ("run.json", "plan.json", "manifest-0001.json", "commits/000000.0.json", "progress.json")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("records")
    (top / "d").mkdir()
    (top / "d/a.csv").write_text("key,caption\nk1,loud\nk2,quiet\n")
    model = {"name": "testbed", "config": None, "dtype": "float32"}
    options = {"model": model, "scoring": {"steps": 50}}
    record = {"options": options, "model": {"name": "testbed", "weights": "w"}}
    run = make_run(top / "run", loudness, captions=(str(top / "d"),), record=record)
    progress = Progress(1, 2, running={"000000": 1}, events=["x"])
    progress.save(Run.existing(run))
    return Path(run)


def fields(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    inner = list(value.items()) if isinstance(value, dict) else []
    for name, one in inner or (enumerate(value[:1]) if isinstance(value, list) else ()):
        yield from fields(one, (*path, name))


def changed(value: Any, path: tuple, to: Any) -> Any:
    if not path:
        return to
    value = copy.deepcopy(value)
    at = value
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = to
    return value


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDS)
def test_a_field_of_another_type_is_a_one_line_error(name: str, sealed: Path) -> None:
    file = sealed / name
    before = file.read_bytes()
    run = Run.existing(str(sealed))
    refused: list[str] = []
    try:
        for path in fields(json.loads(before)):
            for wrong in WRONG:
                file.write_text(json.dumps(changed(json.loads(before), path, wrong)))
                try:
                    (run.record(), run.plan(), run.manifest(), run.commits.all())
                    status([str(sealed)])
                except UserError as error:
                    refused.append(str(error))
    finally:
        file.write_bytes(before)
    assert all(len(line.splitlines()) == 1 for line in refused)
    assert name == "progress.json" or len(refused) > 20


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 100_000, "recursion limit"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b"[]", "should be an object"),
        (b'{"inputs": {}}', "fingerprint: Field required"),
    ],
)
def test_foreign_and_deep_files_are_named(
    data: bytes, why: str, sealed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sealed / "run.json"
    before = file.read_bytes()
    file.write_bytes(data)
    try:
        assert status([str(sealed)]) == 1
    finally:
        file.write_bytes(before)
    assert why in capsys.readouterr().err


def test_a_file_over_the_limit_is_refused(sealed: Path) -> None:
    store, size = Run.existing(str(sealed)).store, (sealed / "run.json").stat().st_size
    assert read_json(store, "run.json", RunRecord, most_bytes=size)["fingerprint"]
    with pytest.raises(DamagedFile, match="over 0 MiB"):
        read_json(store, "run.json", RunRecord, most_bytes=size - 1)


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("manifest-0001.json", ("scores", 0, "path")),
        ("manifest-0001.json", ("samples", 0)),
        ("plan.json", ("generations", 0, "captions", 0)),
        ("plan.json", ("generations", 0, "slices", "files", 0)),
        ("commits/000000.0.json", ("parts", 0, "path")),
    ],
)
def test_names_out_of_the_run_are_refused_by_file(
    outside: str, name: str, path: tuple, sealed: Path
) -> None:
    file = sealed / name
    before = file.read_bytes()
    file.write_text(json.dumps(changed(json.loads(before), path, outside)))
    run = Run.existing(str(sealed))
    try:
        with pytest.raises(DamagedFile, match=f"{file}.*refused"):
            (run.plan(), run.manifest(), run.commits.all())
        if name.startswith("manifest"):
            with pytest.raises(UserError, match="refused"):
                open_run(str(sealed))
    finally:
        file.write_bytes(before)


def test_a_missing_field_is_named_on_access(sealed: Path) -> None:
    record = Run.existing(str(sealed)).record()
    assert record is not None
    with pytest.raises(DamagedFile, match=r"run\.json is damaged \(no revision\)"):
        record["model"]["revision"]


def test_other_files_among_the_commits_are_ignored(sealed: Path) -> None:
    (sealed / "commits/notes").write_text("")
    (sealed / "commits/x.y.json").write_text("")
    assert list(Run.existing(str(sealed)).commits.done()) == ["000000"]
