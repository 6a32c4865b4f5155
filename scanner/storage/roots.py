"""Where input files may lie: what the user named, and nothing that a run names besides."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scanner.errors import UserError
from scanner.storage.listing import literal_part
from scanner.storage.names import climbs, leaves_by_link, name_below
from scanner.storage.urls import full_url, split_url


@dataclass(frozen=True)
class Roots:
    """Directories and files that the user named; whatever else a run names is refused.

    ``recorded``: of a scan's ``--captions``; ``named``: of ``--input-root``.
    """

    recorded: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @classmethod
    def of(cls, captions: Iterable[str], named: Iterable[str] = ()) -> "Roots":
        """``captions``: as run.json records them; a glob stands for its literal directory."""
        roots = (root for url in captions for root in (url, literal_part(url)) if root)
        return cls(tuple(dict.fromkeys(map(_full, roots))), tuple(map(_full, named)))

    def why_not(self, url: str) -> str:
        """Why a file may not be read, "" if it may: it is outside, or a link leads outside."""
        scheme, path = _place(url)
        below = [
            top
            for root in (*self.recorded, *self.named)
            for other, top in [_place(root)]
            if other == scheme and (path == top or name_below(top, path) is not None)
        ]
        if climbs(path) or not below:
            return "it is not below what the scan's --captions named"
        if scheme == "file" and all(_leaves(top, path) for top in below) and not self._meant(path):
            return f"it is, or lies behind, a link to {os.path.realpath(path)}"
        return ""

    def why_not_beside(self, url: str) -> str:
        """Why a file or folder named after one that may be read may not be, "" if it may."""
        scheme, path = _place(url)
        leaves = scheme == "file" and leaves_by_link(str(Path(path).parent), path)
        return self.why_not(url) if leaves else ""

    def refuse_other(self, url: str, flag: str) -> None:
        """Raise UserError for a file that may not be read."""
        if why := self.why_not(url):
            raise UserError(
                f"{flag}: {url} is refused: {why}; to allow it, name its directory by --input-root"
            )

    def _meant(self, path: str) -> bool:
        """Whether a link leads to a place that --input-root names."""
        target = os.path.realpath(path)
        tops = (_place(root) for root in self.named)
        return any(
            scheme == "file" and Path(target).is_relative_to(os.path.realpath(top))
            for scheme, top in tops
        )


def _full(url: str) -> str:
    """A location as listings of inputs have it."""
    full = full_url(url)
    return full if "://" in full or ".." not in Path(full).parts else os.path.realpath(full)


def _place(url: str) -> tuple[str, str]:
    """A location's scheme, and the path in it. Costs no request."""
    scheme, is_url, rest = url.partition("://")
    if is_url and scheme != "file":
        return scheme, rest.rstrip("/")
    return "file", split_url(url)[1]


def _leaves(top: str, path: str) -> bool:
    """Whether links lead out; a file that was named itself stays in its directory."""
    return leaves_by_link(str(Path(top).parent) if path == top else top, path)
