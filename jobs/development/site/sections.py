"""Split a page of the repository into pages of the site."""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_FENCE = re.compile(r" *(```+|~~~+)")


@dataclass(frozen=True)
class SitePage:
    """A page of the site.

    ``source``: file of the repository; ``section``: slug of its heading there, empty for a whole
    file or an introduction; ``anchors``: of all headings that are on this page.
    """

    path: str
    title: str
    source: str
    section: str
    markdown: str
    anchors: frozenset[str]


def outside_code(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it is outside fenced code."""
    fence = ""
    for line in lines:
        marker = match[1] if (match := _FENCE.match(line)) else ""
        if not fence and marker:
            fence = marker
            yield line, False
        elif fence:
            yield line, False
            fence = "" if marker.startswith(fence) else fence
        else:
            yield line, True


def slug(title: str) -> str:
    """Return the anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def whole(source: str, text: str) -> SitePage:
    """Return a file as one page."""
    return _page(source, "", text)


def split(source: str, text: str) -> list[SitePage]:
    """Return a file's introduction and its sections, one per second-level heading, as pages."""
    parts: list[list[str]] = [[]]
    for line, is_text in outside_code(text.splitlines()):
        if is_text and line.startswith("## "):
            parts.append([])
        parts[-1].append(line)
    introduction, *sections = ("\n".join(lines) for lines in parts)
    pages = [_page(source, "", introduction)]
    for section in sections:
        title = section.partition("\n")[0].removeprefix("## ")
        pages.append(_page(source, slug(title), _raised(section)))
    return pages


def notebook(source: str, text: str) -> SitePage:
    """Return a notebook as one page: its text, and its code without output."""
    blocks = []
    for cell in json.loads(text)["cells"]:
        content = "".join(cell["source"])
        blocks.append(content if cell["cell_type"] == "markdown" else f"```python\n{content}\n```")
    blocks.insert(1, f"This page is the notebook `{source}`, without its output.")
    return _page(source, "", "\n\n".join(blocks))


def _page(source: str, section: str, markdown: str) -> SitePage:
    headings = [
        line.lstrip("#").strip()
        for line, is_text in outside_code(markdown.splitlines())
        if is_text and re.match(r"#+ ", line)
    ]
    anchors = frozenset(map(slug, headings))
    title = headings[0].replace("`", "")
    return SitePage(_path(source, section), title, source, section, markdown, anchors)


def _path(source: str, section: str) -> str:
    """Return a page's path: README.md is its folder's index.md, beside its sections."""
    stem = posixpath.splitext(source)[0]
    folder, name = posixpath.split(stem)
    if name == "README":
        return posixpath.join(folder, f"{section or 'index'}.md")
    return posixpath.join(folder, name.lower(), section).rstrip("/") + ".md"


def _raised(section: str) -> str:
    """Return a section with every heading one level up."""
    lines = outside_code(section.splitlines())
    return "\n".join(
        line[1:] if is_text and line.startswith("##") else line for line, is_text in lines
    )
