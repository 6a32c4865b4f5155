"""List the files at a location and download them below a local folder."""

from pathlib import Path
from typing import Any

from scanner.storage.names import (
    leaves_by_link,
    name_below,
    refused_links,
    resolve,
    why_unsafe,
)
from scanner.storage.urls import is_local, split_url


def files_at(fs: Any, path: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the files below a directory by their names in it, and the names that are refused.

    If ``path`` is a file, its name is "". Refused are names that lead out of the directory and, on
    a local disk, links that lead out of it or point to a directory.
    """
    found = fs.find(path, detail=True)
    files, refused = {}, refused_links(fs, path)
    for entry, info in found.items():
        name = "" if entry == path else name_below(path, entry)
        if name is None or (name and why_unsafe(name)) or _leaves_root(fs, path, entry):
            refused.append(entry)
        else:
            files[name] = {**info, "name": entry}
    return files, refused


def download(fs: Any, files: dict[str, dict[str, Any]], folder: Path, own_name: str = "") -> None:
    """Download the files of :func:`files_at` below a folder; ``own_name`` names a single file."""
    local, _ = split_url(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    for name, info in files.items():
        target = Path(resolve(local, str(folder), name or own_name))
        target.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(info["name"], str(target))


def _leaves_root(fs: Any, root: str, place: str) -> bool:
    if not is_local(fs) or place == root:
        return False
    return leaves_by_link(root, place) or (Path(place).is_symlink() and Path(place).is_dir())
