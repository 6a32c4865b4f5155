"""Roots of input files: only locations that the user named may be read, whatever a run names."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scanner.errors import UserError
from scanner.storage.listing import literal_part
from scanner.storage.names import has_parent_reference, leaves_by_link, name_below
from scanner.storage.urls import full_url, split_url


@dataclass(frozen=True)
class Roots:
    """Directories and files that the user named; everything else is refused.

    ``recorded``: from the scan's ``--captions``; ``named``: from ``--input-root``.
    """

    recorded: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @classmethod
    def of(cls, captions: Iterable[str], named: Iterable[str] = ()) -> "Roots":
        """Build roots from the captions in run.json; a glob counts as its literal directory."""
        roots = (root for url in captions for root in (url, literal_part(url)) if root)
        return cls(tuple(dict.fromkeys(map(_full, roots))), tuple(map(_full, named)))

    def why_refused(self, url: str) -> str:
        """Return why a file must not be read (outside the roots, also by a link), "" if it may."""
        scheme, path = _scheme_and_path(url)
        below = [
            top
            for root in (*self.recorded, *self.named)
            for other, top in [_scheme_and_path(root)]
            if other == scheme and (path == top or name_below(top, path) is not None)
        ]
        if has_parent_reference(path) or not below:
            return "it is not below a location given to the scan's --captions"
        if (
            scheme == "file"
            and all(_leaves(top, path) for top in below)
            and not self.is_named_target(path)
        ):
            return f"it is, or is below, a link to {os.path.realpath(path)}"
        return ""

    def why_sidecar_refused(self, url: str) -> str:
        """Return why a sidecar of a readable file must not be read, "" if it may."""
        scheme, path = _scheme_and_path(url)
        leaves = scheme == "file" and leaves_by_link(str(Path(path).parent), path)
        return self.why_refused(url) if leaves else ""

    def refuse_other(self, url: str, flag: str) -> None:
        """Raise UserError for a file that must not be read."""
        if why := self.why_refused(url):
            raise UserError(
                f"{flag}: {url} is refused: {why}; to allow it, pass its directory as --input-root"
            )

    def is_named_target(self, path: str) -> bool:
        """Return whether a link leads below a location given as --input-root."""
        target = os.path.realpath(path)
        tops = (_scheme_and_path(root) for root in self.named)
        return any(
            scheme == "file" and Path(target).is_relative_to(os.path.realpath(top))
            for scheme, top in tops
        )


def _full(url: str) -> str:
    """Return a location in the form that input listings use."""
    full = full_url(url)
    return full if "://" in full or ".." not in Path(full).parts else os.path.realpath(full)


def _scheme_and_path(url: str) -> tuple[str, str]:
    """Return a location's scheme and path without a request."""
    scheme, is_url, rest = url.partition("://")
    if is_url and scheme != "file":
        return scheme, rest.rstrip("/")
    return "file", split_url(url)[1]


def _leaves(top: str, path: str) -> bool:
    """Return whether links lead out; for a root that is a file, out of its directory."""
    return leaves_by_link(str(Path(top).parent) if path == top else top, path)
