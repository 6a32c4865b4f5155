"""Every command in the documents is one, every link leads somewhere, figures are right."""

import re
from pathlib import Path

import pytest

from tests.commands import parsed

ROOT = Path(__file__).parents[1]
ROOMS = ("infra", "jobs", "scanner", "sql")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for room in ROOMS for page in (ROOT / room).rglob("*.md"))]
)
GFLOP = {"triage": 123.3, "late-half": 173.9, "late": 762.4, "standard": 885.7}


def _commands(page: Path) -> list[str]:
    """The lines of fenced and indented blocks that call memscan; comments and prompts left out."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^ *```(?:sh|console)?\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r" (?:&&|\|) ", line)]
    return [part for part in parts if re.match(r"(memscan [a-z]|python -m jobs\.)", part)]


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_taken_by_the_real_command_line(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for command in _commands(page):
        parsed(command)


def test_commands_are_found_in_the_pages() -> None:
    assert sum(len(_commands(page)) for page in PAGES) > 35


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop().resolve()
        reached.add(page)
        for name in re.findall(r"\]\((?!https?:)([^)#\s]+\.md)", page.read_text()):
            target = (page.parent / name).resolve()
            todo += [target] if target not in reached else []
    assert {page.resolve() for page in PAGES} <= reached


def test_gpu_hours_follow_from_gflop_peak_and_utilization() -> None:
    rows = re.findall(
        r"^\| \w+, (\d+), ([\d.]+)" + r" \| ([\d,]+)" * len(GFLOP) + r" \|$",
        (ROOT / "infra/README.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) == 4
    for peak, share, *stated in rows:
        for hours, gflop in zip(stated, GFLOP.values(), strict=True):
            exact = gflop * 1e9 * 1e9 / (float(peak) * 1e12 * float(share)) / 3600
            assert int(hours.replace(",", "")) == round(exact)


def test_the_failures_of_the_cluster_guide_are_said_by_the_code() -> None:
    source = "".join(path.read_text() for path in (ROOT / "scanner").rglob("*.py"))
    _, _, table = (ROOT / "infra/README.md").read_text().partition("## What a failure looks like")
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(messages) > 10
    for message in messages:
        assert message in source, message
