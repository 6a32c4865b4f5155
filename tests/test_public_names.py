"""The names that ``scanner`` exports, and the examples in their docstrings."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import scanner
from tests.query.test_query import make_run

EXAMPLES = sorted(set(scanner.__all__) - {"__version__"})


def test_public_names_are_these() -> None:
    names = {"Scorer", "load_model", "open_run", "mitigate", "Guard", "__version__"}
    names.add("RemovalFilter")
    assert set(scanner.__all__) == names
    assert names <= set(dir(scanner))
    for name in names:
        assert getattr(scanner, name)
    with pytest.raises(AttributeError, match="no attribute 'Scorers'"):
        scanner.Scorers  # noqa: B018


def test_import_loads_no_heavy_library() -> None:
    code = "import sys, scanner; print({'torch', 'duckdb', 'ray'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_in_docstring_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "open_run":
        make_run(tmp_path / "memscan-demo/run-standard")
    public = getattr(scanner, name)
    (example,) = [
        found for found in doctest.DocTestFinder(recurse=False).find(public, name) if found.examples
    ]
    assert len(example.examples) > 1
    printed: list[str] = []
    failed, _ = doctest.DocTestRunner().run(example, out=printed.append)
    assert not failed, "".join(printed)
