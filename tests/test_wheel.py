"""The wheel and the sdist, as hatchling builds them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from jobs.development.sizes import CONTENT, build, content
from tests.test_version import VERSION

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel() -> set[str]:
    """Paths in the wheel."""
    files = WheelBuilder(str(ROOT)).recurse_included_files()
    return {Path(file.distribution_path).as_posix() for file in files}


def test_wheel_has_the_rooms_commands_and_queries(wheel: set[str]) -> None:
    for path in ("scanner/__init__.py", "jobs/cli.py", "jobs/bench/__main__.py"):
        assert path in wheel
    assert {f"scanner/query/sql/{path.name}" for path in (ROOT / "sql").glob("*.sql")} <= wheel
    assert "scanner/testbed/model/unet/diffusion_pytorch_model.safetensors" in wheel


@pytest.mark.parametrize("package", ["scanner", "jobs"])
def test_wheel_ships_type_information(package: str, wheel: set[str]) -> None:
    assert f"{package}/py.typed" in wheel


@pytest.mark.parametrize("folder", ["jobs/studies", "jobs/development", "jobs/notebooks", "tests"])
def test_wheel_has_no_studies_or_development_tools(folder: str, wheel: set[str]) -> None:
    assert not [path for path in wheel if path.startswith(f"{folder}/")]


@pytest.mark.parametrize("part", ["/examples/", "/findings/", ".md"])
def test_wheel_has_no_pages_and_their_pictures(part: str, wheel: set[str]) -> None:
    page_of_queries = "scanner/query/sql/README.md"  # comes with its directory
    assert not [path for path in wheel - {page_of_queries} if part in path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist."""
    return build(ROOT, tmp_path_factory.mktemp("built"))


@pytest.mark.slow
def test_wheel_from_the_sdist_is_that_from_the_tree(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    wheel, sdist = built
    shutil.unpack_archive(sdist, tmp_path)
    (unpacked,) = tmp_path.iterdir()
    again, _ = build(unpacked, tmp_path / "again")
    assert again.name == wheel.name == f"memorization_scanner-{VERSION}-py3-none-any.whl"
    assert again.read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_testbed_is_most_of_the_wheel(built: tuple[Path, Path]) -> None:
    sizes = {what: size for what, (_, size) in content(built[0]).items()}
    testbed = sum(size for what, size in sizes.items() if "scanner/testbed/" in what)
    assert testbed > 0.9 * sum(sizes.values())
    assert sizes[f"`*`: {CONTENT['*']}"] < 200_000
    assert built[0].stat().st_size < 25e6


@pytest.mark.slow
def test_wheel_alone_scans_and_ranks(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, target = built[0], tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)

    def memscan(*words: str) -> str:
        """What a command of the installed wheel prints."""
        return subprocess.run(
            [sys.executable, str(target / "bin/memscan"), *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(target)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert memscan("--version") == f"memscan {VERSION}\n"
    (tmp_path / "captions.csv").write_text("caption\na red fox\nan old boat\n")
    memscan("scan", "--model", "testbed", "--captions", "captions.csv", "--out", "run")
    assert "an old boat" in memscan("rank", "run")
    assert str(VERSION) in (tmp_path / "run/run.json").read_text()
