"""Links between pages of the repository, as links between pages of the site."""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from jobs.development.site.sections import SitePage, outside_code
from scanner.errors import UserError

_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")


class Links:
    """The pages of a site, by what links in the repository name.

    ``files``: other files and directories of the repository that pages link to.
    """

    def __init__(self, root: Path, pages: Iterable[SitePage]) -> None:
        self._root = root
        self._pages: dict[str, list[SitePage]] = {}
        for page in pages:
            self._pages.setdefault(page.source, []).append(page)
        self.files: set[str] = set()

    def rewritten(self, page: SitePage) -> str:
        """Return a page's text with its links rewritten. Raises UserError for one that leads
        nowhere."""
        return "\n".join(
            _LINK.sub(lambda link: f"]({self._target(page, link[1])})", line) if is_text else line
            for line, is_text in outside_code(page.markdown.splitlines())
        )

    def _target(self, page: SitePage, link: str) -> str:
        name, _, anchor = link.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), name))
        source = path if name else page.source
        if source in self._pages:
            target, anchor = self._page(source, anchor, f"{page.source}: {link}")
        elif (self._root / source).is_file():
            target = source
            self.files.add(source)
        elif (self._root / source).is_dir():
            target = f"{source}/files.md"
            self.files.add(source)
        else:
            raise UserError(f"{page.source}: {link}: no such file; correct the link")
        relative = posixpath.relpath(target, posixpath.dirname(page.path) or ".")
        return f"{relative}#{anchor}" if anchor else relative

    def _page(self, source: str, anchor: str, link: str) -> tuple[str, str]:
        """Return the path of the page that has an anchor of a file, and the anchor on it."""
        pages = self._pages[source]
        for one in pages:
            if anchor == one.section:
                return one.path, ""
            if anchor in one.anchors:
                return one.path, anchor
        raise UserError(f"{link}: no such heading; correct the link")
