"""Turn errors of stores and disks into one line: the location, the problem and the remedy."""

import errno
import functools
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from scanner.credentials import without_secrets
from scanner.storage.outages import StoreOutage

Method = TypeVar("Method", bound=Callable[..., Any])

# Clients of object stores raise their own exceptions, which share no base class.
_CLIENTS = (
    *("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "adlfs", "azure", "google"),
    *("huggingface_hub", "httpx", "httpx2", "requests"),
)
_ALLOW = "grant access, or choose another location"
_NO_SPACE = "free some space there, or choose another location"
_FAILING = "the disk or network file system is failing: check it, then rerun the same command"
_FILES = "raise the limit of open files (ulimit -n 65536), then rerun the same command"
_REMEDIES = {
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EROFS: _ALLOW,
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: _FAILING,
    errno.ESTALE: _FAILING,
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file",
    errno.EEXIST: "choose another location, or remove the existing file",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def attach_store_url(error: BaseException, url: str) -> None:
    """Record on an error that it came from the store at ``url``."""
    vars(error).setdefault("storage", url)


def attaches_store_url(method: Method) -> Method:
    """Decorate a method of an object with a ``url``: attach that URL to exceptions it raises."""

    @functools.wraps(method)
    def wrapped(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except Exception as error:
            attach_store_url(error, self.url)
            raise

    return wrapped  # type: ignore[return-value]


def storage_error_message(error: BaseException) -> str | None:
    """Return one line about a store, disk or operating-system error; None for any other error."""
    if isinstance(error, StoreOutage):
        return without_secrets(f"storage: {error}")
    chain = list(_chain(error))
    location = next((vars(link)["storage"] for link in chain if "storage" in vars(link)), "")
    of_client = any(type(link).__module__.split(".")[0] in _CLIENTS for link in chain)
    if "://" in location or of_client:
        prefix = f"{location}: " if location else ""
        is_s3 = location.startswith(("s3://", "s3a://")) or _is_boto(chain)
        endpoint = ", AWS_ENDPOINT_URL" if is_s3 else ""
        return without_secrets(
            f"storage: {prefix}{type(error).__name__}: {error}; check the location, the permissions"
            f"{endpoint} and the credentials in the environment"
        )
    if not isinstance(error, OSError):
        return None
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return without_secrets(f"{type(error).__name__}: {error}")
    where = error.filename or location
    if isinstance(where, bytes):
        where = where.decode(errors="backslashreplace")
    if not where and remedy is _NO_SPACE:
        remedy += f" (temporary files are in {tempfile.gettempdir()}: TMPDIR sets another folder)"
    return f"{where}{': ' if where else ''}{error.strerror}; {remedy}"


def _is_boto(chain: list[BaseException]) -> bool:
    return any("boto" in type(link).__module__.split(".")[0] for link in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__
