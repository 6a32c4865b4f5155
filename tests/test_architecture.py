"""The rooms of the package and which may import which: arrows point one way."""

import ast
import functools
from pathlib import Path

import pytest

from jobs.development import architecture
from jobs.development.architecture import modules, redraw

imports_of = functools.cache(architecture.imports_of)
ROOT = Path(__file__).parents[1]
ROOMS = {
    "credentials": set(),
    "errors": {"credentials"},
    "cores": set(),
    "memory": set(),
    "plurals": set(),
    "signals": set(),
    "storage": {"credentials", "errors"},
    "captions": {"credentials", "errors", "storage"},
    "run": {"errors", "storage"},
    "models": {"errors", "cores", "memory", "plurals", "storage"},
    "probe": {"errors", "signals", "models"},
    "scoring": {"errors", "signals", "models", "probe", "captions", "run", "memory"},
    "cluster": {"credentials", "errors", "cores", "memory", "storage", "run"},
    "query": {"errors", "cores", "memory", "storage", "run"},
    "calibration": {"errors", "storage", "captions", "run", "query"},
    "curation": {
        *("errors", "plurals", "storage", "run", "query", "calibration", "cluster"),
        "captions",  # formats: a copy is read and written as the scan reads
        "evidence",  # purge --index
    },
    "testbed": {"errors", "models"},
    "mitigation": {"errors", "storage", "captions", "signals", "models", "probe", "calibration"},
    "pages": {"errors"},
    "report": {
        "calibration",
        *("errors", "plurals", "storage", "run", "query", "curation", "evidence", "pages"),
        *("models", "scoring"),  # a caption's words, as the model reads them
        "captions",  # pictures, as every room opens them
    },
    "review": {
        *("errors", "storage", "run", "query", "calibration", "evidence", "pages"),
        "report",  # shading and thumbnails
    },
    "evidence": {
        "credentials",
        *("errors", "storage", "captions", "run", "signals", "models", "probe", "scoring"),
        *("cluster", "cores", "memory", "query", "pages"),
        "mitigation",  # verify --mitigate
    },
    "replication": {
        *("errors", "storage", "run", "models", "scoring", "cluster", "query"),
        *("scan", "calibration", "pages"),
        "testbed",  # replicate testbed: its labels
    },
    "scan": {
        "errors",
        "cores",
        "plurals",
        "storage",
        "captions",
        "run",
        "models",
        "scoring",
        "cluster",
        "query",
    },
}
LIBRARIES = {
    "fsspec": {"storage"},
    "s3fs": {"storage"},
    "gcsfs": {"storage"},
    "adlfs": {"storage"},
    "azure": {"storage"},
    "ray": {"cluster"},
    "duckdb": {"query", "captions"},
    "diffusers": {"models", "probe", "scoring", "testbed"},
    "transformers": {"models", "testbed"},
    "altair": {"pages", "evidence", "report", "replication"},
    "jinja2": {"pages"},
    "starlette": {"review"},
    "uvicorn": {"review"},
}


@pytest.mark.slow
def test_rooms_import_only_what_lies_below_them() -> None:
    for room, path in modules():
        rooms = {name.split(".")[1] for name in imports_of(path) if name.startswith("scanner.")}
        assert rooms - {room} <= ROOMS[room], f"{path}: {rooms - {room} - ROOMS[room]}"


def test_no_room_imports_a_job() -> None:
    for _, path in modules():
        assert not any(name.split(".")[0] == "jobs" for name in imports_of(path)), path


def test_each_library_is_used_in_its_rooms_only() -> None:
    for room, path in modules():
        for name in {name.split(".")[0] for name in imports_of(path)} & set(LIBRARIES):
            assert room in LIBRARIES[name], f"{path} imports {name}"


def test_every_room_is_named() -> None:
    assert {room for room, _ in modules()} == set(ROOMS)


@pytest.mark.slow
def test_no_two_public_classes_share_a_name() -> None:
    files: dict[str, list[Path]] = {}
    for folder in ("scanner", "jobs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    files.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in files.items() if len(paths) > 1} == {}


@pytest.mark.slow
def test_the_graph_of_rooms_is_current() -> None:
    page = (ROOT / "scanner/README.md").read_text()
    assert redraw(page) == page, "python -m jobs.development.architecture draws it again"
