"""Errors and the first line come before the libraries load, which takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.console.early_checks import check_writable
from scanner.errors import UserError
from tests.calibration.runs import synthetic_labels, synthetic_run

ROOT = Path(__file__).parents[2]
# A library that is imported ends the case, instead of loading.
CASES = """
import contextlib, importlib.abc, io, json, sys

class Loads(BaseException):
    pass

class Refusing(importlib.abc.MetaPathFinder):
    libraries = json.loads(sys.argv[1])

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in self.libraries:
            raise Loads(name)

sys.meta_path.insert(0, Refusing())
from jobs import cli

cases, out = json.loads(sys.argv[2]), sys.argv[3]
results = []
for words in cases:
    sys.argv[:] = ["memscan", *words]
    shown, loaded, status = io.StringIO(), "", None
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.main()
        except Loads as library:
            loaded = str(library)
    results.append([status, loaded, shown.getvalue()])
with open(out, "w") as file:  # DuckDB's bar is on standard output, with python -c
    json.dump(results, file)
"""
SLOW = ["torch", "diffusers", "transformers", "ray", "sklearn", "scipy", "altair"]
WRONG = [
    ["scan --captions nothere.csv --model testbed --out x", "nothere.csv: no such file"],
    ["scan --captions a.csv --model ./nothere --out x", "model: ./nothere: neither a directory"],
    ["scan --captions a.csv --model no.safetensors --out x", "model: no.safetensors: no such file"],
    ["scan --captions a.csv --model testbed --lora no --out x", "model: --lora no: no such file"],
    ["scan --captions-from nothere --out x", "nothere: no run here"],
    ["scan --captions a.csv --model testbed --out run", "run holds a run with another config"],
    ["rank nothere", "nothere: no run here"],
    ["rank run --calibration no.json", "--calibration no.json: cannot be read"],
    ["sql nothere SELECT", "nothere: no run here"],
    ["status nothere", "nothere: no run here"],
    ["calibrate nothere --labels a.csv", "nothere: no run here"],
    ["calibrate run --labels no.csv", "--labels no.csv: cannot be read"],
    ["calibrate run --memorized no.txt", "--memorized no.txt: cannot be read"],
    ["calibrate run --calibration no.json", "--calibration no.json: cannot be read"],
    ["verify nothere", "nothere: no run here"],
    ["verify run --index no", "--index no: cannot be read"],
    ["verify run --model ./no", "model: ./no: neither a directory"],
    ["explain fox --model ./no", "model: ./no: neither a directory"],
    ["explain fox --model testbed --band no.txt", "--band no.txt: cannot be read"],
    ["curate nothere --out x", "nothere: no run here"],
    ["curate run --policy no.toml --out x", "--policy no.toml: cannot be read"],
    ["curate run --list spam=no.csv --out x", "--list no.csv: cannot be read"],
    ["report nothere", "nothere: no run here"],
    ["report run --calibration no.json", "--calibration no.json: cannot be read"],
    ["review nothere", "nothere: no run here"],
    ["card nothere", "nothere: no run here"],
    ["purge nothere --list a.csv", "nothere: no run here"],
    ["purge run --list no.csv", "--list no.csv: cannot be read"],
    ["score-samples nothere --where true", "nothere: no run here"],
    ["group-images nothere --where true", "nothere: no run here"],
    ["index-images nothere.parquet --out x", "INPUTS nothere.parquet: cannot be read"],
    ["find-image no.png --index index", "FILES no.png: cannot be read"],
    ["find-image a.png --index no", "--index no: cannot be read"],
    ["finetune --data no.parquet --out x", "--data no.parquet: cannot be read"],
]
LOADING = [
    ["scan --captions a.csv --model testbed --out x", "loading PyTorch"],
    ["scan --captions a.csv --model testbed --dry-run", "loading PyTorch"],
    ["verify run --top 2", "loading PyTorch"],
    ["explain fox --model testbed", "loading PyTorch"],
    ["score-samples run --where true", "loading PyTorch"],
    ["finetune --data a.csv --out x", "loading PyTorch"],
    ["index-images run --out x", "loading PyTorch"],
    ["group-images run --where true", "loading PyTorch"],
    ["find-image a.png --index run", "loading PyTorch"],
    ["demo --out demo", "loading PyTorch"],
    ["replicate testbed --out x", "loading PyTorch"],
    ["bench --model testbed", "loading PyTorch"],
    ["report run", "reading run"],
    ["review run", "reading run"],
    ["calibrate run --labels a.csv", "reading run"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose captions have labels, a csv of captions, and a file for an image."""
    here = tmp_path_factory.mktemp("before")
    synthetic_run(here / "run")
    synthetic_labels(here / "a.csv")
    (here / "a.png").write_bytes(b"")
    return here


def _run(commands: list[str], folder: Path) -> list[tuple[int | None, str, str]]:
    """Run commands in one process; return the status of each or the library that it starts to load,
    and what it has said until then."""
    words = json.dumps([command.split() for command in commands])
    out = folder / "results.json"
    done = subprocess.run(
        [sys.executable, "-c", CASES, json.dumps(SLOW), words, str(out)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(status, loaded, shown) for status, loaded, shown in json.loads(out.read_text())]


def test_a_wrong_path_is_an_error_before_anything_slow_loads(folder: Path) -> None:
    results = _run([command for command, _ in WRONG], folder)
    for (command, message), (status, loaded, shown) in zip(WRONG, results, strict=True):
        assert not loaded, f"memscan {command} imports {loaded} before it says what is wrong"
        assert status == 1, f"memscan {command}: {shown}"
        assert f"memscan: {message}" in shown, command


def test_an_output_that_cannot_be_written_is_found_early(tmp_path: Path) -> None:
    check_writable("--out", str(tmp_path / "new" / "run"))
    check_writable("--out", "s3://bucket/run")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file is not a directory; name another location"):
        check_writable("--out", str(tmp_path / "file" / "run"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if not os.access(closed, os.W_OK):  # it is, for root
        with pytest.raises(UserError, match="closed cannot be written; name another location"):
            check_writable("--out", str(closed / "run"))


def test_a_line_is_printed_before_anything_slow_loads(folder: Path) -> None:
    results = _run([command for command, _ in LOADING], folder)
    for (command, line), (_, loaded, shown) in zip(LOADING, results, strict=True):
        assert loaded, f"memscan {command} loads nothing slow; leave it out here"
        assert line in shown, f"memscan {command} imports {loaded} and has said: {shown}"


def test_quick_commands_load_nothing_slow(folder: Path) -> None:
    quick = ["rank run", "sql run SELECT/**/1", "sql --list", "status run", "--help", "--version"]
    for command, (status, loaded, shown) in zip(quick, _run(quick, folder), strict=True):
        assert (status, loaded) == (0, ""), f"memscan {command}: {shown}"
