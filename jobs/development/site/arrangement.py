"""Arrange the pages of the repository and those written from the code in the navigation."""

from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any

from jobs.development.options_page import options_page
from jobs.development.site.navigation import HOME, PARTS
from jobs.development.site.reference import GENERATED, with_sql
from jobs.development.site.sections import SitePage, notebook, split, whole
from scanner.errors import UserError

ROOT = Path(__file__).parents[3]
FOLDERS = ("infra", "jobs", "scanner", "sql")
KINDS = ("md", "ipynb")
_OPTIONS, _QUERIES = "jobs/OPTIONS.md", "sql/README.md"

Navigation = list[dict[str, Any]]


def repository_pages() -> list[str]:
    """Return the Markdown pages and notebooks of the repository."""
    below = ((ROOT / folder).rglob(f"*.{kind}") for folder in FOLDERS for kind in KINDS)
    found = chain(ROOT.glob("*.md"), *below)
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def arranged() -> tuple[list[SitePage], Navigation]:
    """Return all pages, and the navigation with their titles and paths.

    Raises UserError for entries of :data:`PARTS` that name nothing, and pages that none names.
    """
    entries = {entry for groups in PARTS.values() for one in groups.values() for entry in one}
    named = {HOME} | {entry.partition("#")[0] for entry in entries}
    rest = [source for source in repository_pages() if source not in named]
    home = _read(HOME)
    pages = [home]
    navigation: Navigation = [{"Overview": home.path}]
    for part, groups in PARTS.items():
        listed: Navigation = []
        for group, members in groups.items():
            chosen = [page for entry in members for page in _pages_of(entry, entries, rest)]
            pages += chosen
            listed.append({group: [{page.title: page.path} for page in chosen]})
        navigation.append({part: listed})
    if rest:
        raise UserError(f"not in jobs/development/site/navigation.py: {', '.join(rest)}; add them")
    return pages, navigation


def _pages_of(entry: str, entries: set[str], rest: list[str]) -> Iterator[SitePage]:
    """Yield the pages of an entry; a pattern's are removed from ``rest``."""
    source, _, section = entry.partition("#")
    if entry in GENERATED:
        yield whole(entry, GENERATED[entry]())
    elif section:
        sections = [
            page
            for page in split(source, _text(source))
            if page.section == section
            or (section == "*" and f"{source}#{page.section}" not in entries)
        ]
        if not sections:
            raise UserError(f"navigation.py: {entry}: no such section; correct the entry")
        yield from sections
    elif "*" in source:
        for matching in [one for one in rest if fnmatch(one, source)]:
            rest.remove(matching)
            yield _read(matching)
    else:
        yield _read(source)


def _read(source: str) -> SitePage:
    """Return a file as one page."""
    as_page = notebook if source.endswith(".ipynb") else whole
    return as_page(source, _text(source))


def _text(source: str) -> str:
    if source == _OPTIONS:
        return options_page()
    text = (ROOT / source).read_text(encoding="utf-8")
    return with_sql(text) if source == _QUERIES else text
