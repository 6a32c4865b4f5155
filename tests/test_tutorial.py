"""The tutorial's commands are run as they stand there, and print what it shows."""

import shutil
from pathlib import Path

import pytest

from tests.transcripts import assert_shown, printed, transcript

ROOT = Path(__file__).parents[1]
TUTORIAL = transcript(ROOT / "jobs/TUTORIAL.md")
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def folder(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as its command left it; what is done to it here is done to a copy."""
    here = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(demo / "demo", here / "demo")
    return here


def test_the_tutorial_begins_with_the_demo() -> None:
    assert TUTORIAL[0][0] == "memscan demo --out demo"
    assert len(TUTORIAL) > 10


@pytest.mark.parametrize("step", range(len(TUTORIAL)))
def test_a_step_prints_what_the_page_shows(step: int, folder: Path, demo: Path) -> None:
    command, shown = TUTORIAL[step]
    real = (demo / "printed").read_text() if step == 0 else printed(command, folder)
    assert_shown(shown, real)


def test_the_readme_shows_how_the_demo_ends(demo: Path) -> None:
    (block,) = [each for each in README.split("```") if "held-out ones), 132 memorized\n" in each]
    real = (demo / "printed").read_text().replace(" demo/", " memscan-demo/")
    assert_shown(["…", *block.strip().splitlines(), "…"], real)
