"""The files of the wheel, as hatchling selects them."""

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

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
