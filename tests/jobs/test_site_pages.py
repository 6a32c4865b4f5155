"""Pages of the repository, as parts of the site."""

from pathlib import Path

import pytest

from jobs.development import site
from jobs.development.site import arrangement
from jobs.development.site.dialect import for_python_markdown
from jobs.development.site.links import Links
from jobs.development.site.python_names import as_markdown
from jobs.development.site.sections import slug, split, whole
from scanner.errors import UserError

GUIDE = """# Guide

Introduction.

## Scan a set

Text.

```
## no heading
```

### The order

## Sizes & limits
"""


def test_section_is_a_page_with_its_headings_raised() -> None:
    introduction, scan, sizes = split("jobs/README.md", GUIDE)
    assert (introduction.path, introduction.title) == ("jobs/index.md", "Guide")
    assert (scan.path, scan.title) == ("jobs/scan-a-set.md", "Scan a set")
    assert scan.markdown.splitlines()[0] == "# Scan a set"
    assert "\n## no heading\n" in scan.markdown
    assert scan.markdown.endswith("\n## The order")
    assert scan.anchors == {"scan-a-set", "the-order"}
    assert sizes.path == f"jobs/{slug('Sizes & limits')}.md" == "jobs/sizes--limits.md"


def test_links_lead_to_the_page_that_has_the_section(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/demo.toml").write_text("")
    text = (
        "# Tutorial\n[a](README.md#the-order) [b](README.md#scan-a-set) [c](README.md) "
        "[d](demo.toml) [e](.) [f](https://example.com/#x)\n```\n[g](none.md)\n```\n"
    )
    tutorial = whole("jobs/TUTORIAL.md", text)
    links = Links(tmp_path, [tutorial, *split("jobs/README.md", GUIDE)])
    written = links.rewritten(tutorial).splitlines()
    assert written[1] == (
        "[a](scan-a-set.md#the-order) [b](scan-a-set.md) [c](index.md) [d](demo.toml) "
        "[e](files.md) [f](https://example.com/#x)"
    )
    assert written[3] == "[g](none.md)"
    assert links.files == {"jobs", "jobs/demo.toml"}


@pytest.mark.parametrize(
    ("link", "why"), [("none.md", "no such file"), ("README.md#nothing", "no such heading")]
)
def test_link_that_leads_nowhere_is_an_error(link: str, why: str, tmp_path: Path) -> None:
    page = whole("jobs/TUTORIAL.md", f"# Tutorial\n[a]({link})\n")
    links = Links(tmp_path, [page, *split("jobs/README.md", GUIDE)])
    with pytest.raises(UserError, match=f"jobs/TUTORIAL.md: {link}: {why}"):
        links.rewritten(page)


def test_lists_are_indented_and_set_off_for_python_markdown() -> None:
    text = (
        "Text:\n1. First\n   more\n\n   ```\n   code\n   ```\n2. Second\n   - inner\n     too\n\n"
        "End\n| a |\n|---|\n"
    )
    assert for_python_markdown(text).splitlines() == [
        *("Text:", "", "1.  First", "    more", "", "", "    ```", "    code", "    ```"),
        *("", "2.  Second", "", "    -   inner", "        too", "", "End", "", "| a |", "|---|"),
    ]


def test_diagram_becomes_a_table_of_its_arrows() -> None:
    text = "```mermaid\ngraph TD\n    a\n    a --> b\n    a --> c\n```\n"
    assert "| `a` | `b`, `c` |" in for_python_markdown(text)


def test_docstring_becomes_markdown() -> None:
    text = (
        "Score captions with :class:`~scanner.scoring.Scorer`, see ``seeds``.\n\nFor example::\n\n"
        "    scorer.score(captions)\n\n>>> 1 + 1\n2"
    )
    assert as_markdown(text) == (
        "Score captions with `Scorer`, see `seeds`.\n\nFor example:\n\n```python\n"
        "scorer.score(captions)\n```\n\n```pycon\n>>> 1 + 1\n2\n```"
    )


def test_page_outside_the_navigation_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [*arrangement.repository_pages(), "jobs/NEW.md"]
    monkeypatch.setattr(arrangement, "repository_pages", lambda: pages)
    with pytest.raises(UserError, match=r"jobs/NEW\.md"):
        arrangement.arranged()


def test_section_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"Tutorial": {"First steps": ("jobs/README.md#nothing",)}}
    monkeypatch.setattr(arrangement, "PARTS", parts)
    with pytest.raises(UserError, match=r"jobs/README\.md#nothing: no such section"):
        arrangement.arranged()


def test_other_folder_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert site.main(["--out", str(tmp_path)]) == 1
    assert "holds something else than a site" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"
