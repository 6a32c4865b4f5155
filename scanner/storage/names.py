"""Names that others chose: a relative name stays below its root, or is refused.

Manifests, plans, commits, verdicts, listings of servers and links on a disk all name files. Every
one of these names passes through here before anything is opened, written or removed.
"""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec

from scanner.errors import UserError
from scanner.storage.urls import is_http, is_local, url_of

_SHOWN = 200
# ``simplecache::name`` is a chain, ``a::b`` a name.
_CHAINED = set(fsspec.available_protocols())


class UnsafeName(UserError):
    """A name that would lead out of the place that it belongs to."""


def why_unsafe(name: str) -> str:
    """Return why a relative name may not be resolved, "" if it may."""
    if "\0" in name:
        return "it holds a NUL character"
    if "\\" in name:
        return "it holds a backslash"
    if "://" in name or _CHAINED & set(name.split("::")[:-1]):
        return "it is a URL, or a chain of them"
    if name.startswith("/"):
        return "it is absolute"
    if climbs(name):
        return "it leads out by .."
    if any(part in ("", ".") for part in name.split("/")):
        return "it has an empty part"
    return ""


def climbs(path: str) -> bool:
    """Whether a path has a part ``..``, also percent-encoded, which servers and clients resolve."""
    seen = ""
    while path != seen:
        if ".." in re.split(r"[/\\]", path) or "\0" in path:
            return True
        seen, path = path, unquote(path)
    return False


def resolve(fs: Any, root: str, name: str) -> str:
    """Return the path of a relative name below ``root``. Raises UnsafeName.

    Costs no request: on a local disk the links below the root are followed, elsewhere names have
    none.
    """
    why = why_unsafe(name)
    path = f"{root.rstrip('/')}/{name}"
    if not why and is_local(fs) and leaves_by_link(root, path):
        why = "it is, or lies behind, a link to another place"
    if why:
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        raise UnsafeName(
            f"{url_of(fs, root)}: the name {shown!r} is refused: {why}; only files below this "
            "place are read or written"
        )
    return path


def leaves_by_link(root: str, path: str) -> bool:
    """Whether a link at or above a local path, but below the root, leads out of the root."""
    path = path.rstrip("/")
    while len(path) > len(root):
        if Path(path).is_symlink():
            return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
        path = path.rpartition("/")[0]
    return False


def name_below(root: str, path: str) -> str | None:
    """Return the name, relative to ``root``, of a path that a listing has; None if it is not below.

    A folder's name may end in a slash.
    """
    top = root.rstrip("/") + "/"
    name = path.removeprefix(top)
    return name if path.startswith(top) and name.strip("/") and not climbs(name) else None


def refused_links(fs: Any, root: str) -> list[str]:
    """Return the links on an HTTP server's pages, at and below a URL, that lead elsewhere."""
    pages = fs.refused.items() if is_http(fs) else ()
    top = root.rstrip("/")
    return sorted(
        link for page, links in pages if page == top or page.startswith(f"{top}/") for link in links
    )
