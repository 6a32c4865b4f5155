"""A store of another package, as fsspec finds them: files on a disk, with a cache of listings."""

import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fsspec.registry import _registry
from fsspec.spec import AbstractFileSystem

SCHEME = "oss"  # one that is allowed, and of which no package is installed


class CachingStore(AbstractFileSystem):
    """Keeps listings forever, as gcsfs and adlfs do, unless ``use_listings_cache`` is false."""

    protocol = SCHEME
    root: ClassVar[Path]

    def _place(self, path: str) -> Path:
        return self.root / self._strip_protocol(path).strip("/")

    def _about(self, place: Path) -> dict[str, Any]:
        name = str(place.relative_to(self.root))
        return {
            "name": name,
            "size": place.stat().st_size,
            "type": "directory" if place.is_dir() else "file",
        }

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path).strip("/")
        found = self._ls_from_cache(path)
        if found is None:
            place = self._place(path)
            if not place.exists():
                raise FileNotFoundError(path)
            places = sorted(place.iterdir()) if place.is_dir() else [place]
            found = [self._about(each) for each in places if not each.name.startswith(".")]
            self.dircache[path] = found
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return self._about(self._place(path))

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        return self._place(path).read_bytes()[start:end]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=".")
        os.write(descriptor, value)
        os.close(descriptor)
        if mode == "create":
            try:
                os.link(temporary, place)
            finally:
                Path(temporary).unlink()
        else:
            Path(temporary).replace(place)

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def rm_file(self, path: str) -> None:
        self._place(path).unlink()

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        return self._place(path).open(mode)


def provide(kind: type[AbstractFileSystem], root: Path, environ: pytest.MonkeyPatch) -> str:
    """Let ``kind`` keep the files of a scheme below ``root``; return the URL of a bucket there."""
    environ.setattr(kind, "root", root, raising=False)
    environ.setitem(_registry, SCHEME, kind)
    kind.clear_instance_cache()
    return f"{SCHEME}://bucket"
