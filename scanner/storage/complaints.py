"""What to say of an error of a store or of a disk: the place, what is wrong, and the remedy."""

import errno
import functools
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from scanner.credentials import without_secrets

Method = TypeVar("Method", bound=Callable[..., Any])

# Clients of object stores have exceptions of their own, which share no class.
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "adlfs", "azure", "google")
_ALLOW = "allow it, or name another place"
_ROOM = "free some space there, or name a place with more"
_FAILING = "the disk, or the file system of the network, fails: check it, then run the same again"
_FILES = "raise the limit of open files (ulimit -n 65536), then run the same again"
_REMEDIES = {
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EROFS: _ALLOW,
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: _FAILING,
    errno.ESTALE: _FAILING,
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another place, or remove what is there",
    errno.ENAMETOOLONG: "name a shorter path",
}


def mark_storage(error: BaseException, url: str) -> None:
    """Have an error known as one of the store at ``url``."""
    vars(error).setdefault("storage", url)


def marks_storage(method: Method) -> Method:
    """Decorate a method of a store, with an attribute ``url``: what it raises is marked."""

    @functools.wraps(method)
    def marking(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except Exception as error:
            mark_storage(error, self.url)
            raise

    return marking  # type: ignore[return-value]


def complaint(error: BaseException) -> str | None:
    """One line about an error of a store, a disk or the operating system; None for any other."""
    chain = list(_chain(error))
    place = next((vars(link)["storage"] for link in chain if "storage" in vars(link)), "")
    of_client = any(type(link).__module__.split(".")[0] in _CLIENTS for link in chain)
    if "://" in place or of_client:
        named = f"{place}: " if place else ""
        is_s3 = place.startswith(("s3://", "s3a://")) or _is_boto(chain)
        endpoint = ", AWS_ENDPOINT_URL" if is_s3 else ""
        return without_secrets(
            f"storage: {named}{type(error).__name__}: {error}; check the location, the permissions"
            f"{endpoint} and the credentials in the environment"
        )
    if not isinstance(error, OSError):
        return None
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return without_secrets(f"{type(error).__name__}: {error}")
    where = error.filename or place
    if isinstance(where, bytes):
        where = where.decode(errors="backslashreplace")
    if not where and remedy is _ROOM:
        remedy += f" (temporary files go to {tempfile.gettempdir()}: TMPDIR names another folder)"
    return f"{where}{': ' if where else ''}{error.strerror}; {remedy}"


def _is_boto(chain: list[BaseException]) -> bool:
    return any("boto" in type(link).__module__.split(".")[0] for link in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__
