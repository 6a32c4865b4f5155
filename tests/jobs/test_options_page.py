"""Every command and every option is documented."""

import re
from pathlib import Path

import pytest

from jobs.cli import COMMANDS
from jobs.development.options_page import options_page
from tests.memscan import called

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_described_in_the_guide(command: str) -> None:
    guide = (JOBS / "README.md").read_text(encoding="utf-8")
    name = command.replace("_", "-")
    assert re.search(rf"memscan {name}\b", guide), f"jobs/README.md: describe {name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_the_help_is_on_the_page(command: str) -> None:
    page = (JOBS / "OPTIONS.md").read_text(encoding="utf-8")
    name = command.replace("_", "-")
    section = page.partition(f"## memscan {name}\n")[2].partition("\n## ")[0]
    shown = called(command, "--help").stdout
    flags = set(re.findall(r"^\W{0,3}(--[a-z][a-z0-9-]+)", shown, re.MULTILINE)) - {"--help"}
    assert flags
    assert flags == set(re.findall(r"^\| `(--[a-z0-9-]+)` \|", section, re.MULTILINE))


def test_options_page_is_current() -> None:
    page = (JOBS / "OPTIONS.md").read_text(encoding="utf-8")
    assert page == options_page(), "run python -m jobs.development.options_page"
