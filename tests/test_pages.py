"""What the pages in depth show is what the commands print; by hand, for it takes half an hour."""

import shutil
from pathlib import Path

import pytest

from jobs.development.cookbook import cookbook
from tests.transcripts import assert_shown, printed, transcript

ROOT = Path(__file__).parents[1]
COMMANDS = transcript(ROOT / "jobs/README.md")
pytestmark = pytest.mark.pages


@pytest.fixture(scope="module")
def folder(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as its command left it; what is done to it here is done to a copy."""
    here = tmp_path_factory.mktemp("pages")
    shutil.copytree(demo / "demo", here / "demo")
    return here


@pytest.mark.parametrize("step", range(len(COMMANDS)))
def test_a_command_prints_what_the_page_shows(step: int, folder: Path) -> None:
    command, shown = COMMANDS[step]
    assert_shown(shown, printed(command, folder))


def test_the_cookbook_shows_what_the_queries_find(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    page = (ROOT / "sql/README.md").read_text()
    assert_shown(page.splitlines(), cookbook("demo/run-standard", "testbed"))
