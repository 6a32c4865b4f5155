"""Containment of untrusted names: a relative name resolves below its root or is refused.

Manifests, plans, commits, verdicts, server listings and links on disk all contain file names. Each
of them is checked here before a file is opened, written or removed.
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
# ``simplecache::name`` is a URL chain, ``a::b`` a plain name.
_CHAINED = set(fsspec.available_protocols())


class UnsafeName(UserError):
    """A name that would leave the directory it belongs to."""


def why_unsafe(name: str) -> str:
    """Return why a relative name must not be resolved, "" if it is safe."""
    if "\0" in name:
        return "it contains a NUL character"
    if "\\" in name:
        return "it contains a backslash"
    if "://" in name or _CHAINED & set(name.split("::")[:-1]):
        return "it is a URL or a URL chain"
    if name.startswith("/"):
        return "it is absolute"
    if has_parent_reference(name):
        return "it contains .."
    if any(part in ("", ".") for part in name.split("/")):
        return "it has an empty part"
    return ""


def has_parent_reference(path: str) -> bool:
    """Return whether a path contains ``..``, also percent-encoded, as servers decode it."""
    seen = ""
    while path != seen:
        if ".." in re.split(r"[/\\]", path) or "\0" in path:
            return True
        seen, path = path, unquote(path)
    return False


def resolve(fs: Any, root: str, name: str) -> str:
    """Return the path of a relative name below ``root``. Raises UnsafeName.

    Makes no request: on a local disk links below the root are followed; stores have no links.
    """
    why = why_unsafe(name)
    path = f"{root.rstrip('/')}/{name}"
    if not why and is_local(fs) and leaves_by_link(root, path):
        why = "it is a link, or below a link, that leads elsewhere"
    if why:
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        raise UnsafeName(
            f"{url_of(fs, root)}: the name {shown!r} is refused: {why}; only files below this "
            "location are read or written"
        )
    return path


def leaves_by_link(root: str, path: str) -> bool:
    """Return whether a link on a local path below the root leads out of the root."""
    path = path.rstrip("/")
    while len(path) > len(root):
        if Path(path).is_symlink():
            return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
        path = path.rpartition("/")[0]
    return False


def name_below(root: str, path: str) -> str | None:
    """Return a listed path relative to ``root``; None if it is not below it.

    A folder's name may end with a slash.
    """
    top = root.rstrip("/") + "/"
    name = path.removeprefix(top)
    return (
        name
        if path.startswith(top) and name.strip("/") and not has_parent_reference(name)
        else None
    )


def refused_links(fs: Any, root: str) -> list[str]:
    """Return the links on an HTTP server's pages, at and below a URL, that lead elsewhere."""
    pages = fs.refused.items() if is_http(fs) else ()
    top = root.rstrip("/")
    return sorted(
        link for page, links in pages if page == top or page.startswith(f"{top}/") for link in links
    )
