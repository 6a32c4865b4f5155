"""Azure's client: waits for outages to end, and raises errors of the operating system's kinds."""

import errno
import functools
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

from scanner.credentials import without_secrets
from scanner.storage.counts import count_request
from scanner.storage.outage_wait import OutageWait
from scanner.storage.outages import StoreOutage, is_transient, mark_transient
from scanner.storage.transient.statuses import TRANSIENT_STATUSES

Answer = TypeVar("Answer")
_ACCOUNT = re.compile(r"[^/@]*@(?P<account>[^/.@]+)\.(?:dfs|blob)\.core\.windows\.net(?:/|$)")
_HOST = re.compile(r"[^/@]*@(?P<host>[^/]*)")
LARGEST_PUT = 1 << 30
_MISSING, _REFUSED, _EXISTS = (404,), (401, 403), (409, 412)


class WaitForOutages(ExponentialRetry):
    """The client's policy of retries: those of an :class:`OutageWait`, instead of three."""

    def __init__(self, outages: OutageWait) -> None:
        super().__init__()
        self._outages = outages

    async def send(self, request: Any) -> Any:
        """Send a request until it is answered, its body from the start each time."""
        settings = self.configure_retries(request)
        url = request.http_request.url.partition("?")[0]  # a signature is behind the ?

        async def attempt() -> Any:
            count_request(request.http_request.method.lower())
            body = request.http_request.body
            if settings["body_position"] is not None:
                body.seek(settings["body_position"])
            response = await self.next.send(request)
            if response.http_response.status_code in TRANSIENT_STATUSES:
                raise HttpResponseError(response=response.http_response)
            response.http_response.location_mode = settings["mode"]
            return response

        try:
            return await self._outages.wait_out(attempt, lambda: endpoint_of(url), url)
        except HttpResponseError as error:
            if error.status_code not in TRANSIENT_STATUSES:
                raise
            reason = f"{error.status_code} {error.reason}"
        # Not Azure's error: its client reads the body for a message, which may not have arrived.
        outage = StoreOutage(f"{url}: the server is unavailable ({reason}); rerun later")
        mark_transient(outage)
        raise outage


def endpoint_of(url: str) -> str:
    """Return the part of a URL before its path."""
    return "/".join(url.split("/")[:3])


def connect(
    outages: OutageWait, connection_string: str | None, url: str, credential: Any
) -> BlobServiceClient:
    """Return a client of an account, by its connection string or by its URL and a credential."""
    # Racing writers prove the condition of one request, not that of a list of blocks.
    options: Any = {"retry_policy": WaitForOutages(outages), "max_single_put_size": LARGEST_PUT}
    if connection_string:
        return BlobServiceClient.from_connection_string(connection_string, **options)
    return BlobServiceClient(url, credential=credential, **options)


def account_in(url: str) -> str:
    """Return the account in a URL, ``abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/…``, else "".

    Raises ValueError for another host: the credentials of the environment would be sent there.
    """
    rest = url.partition("://")[2]
    if found := _ACCOUNT.match(rest):
        return found["account"]
    if other := _HOST.match(rest):
        raise ValueError(
            f"{other['host']} is neither ACCOUNT.dfs.core.windows.net nor "
            "ACCOUNT.blob.core.windows.net; for another endpoint set "
            "AZURE_STORAGE_CONNECTION_STRING, and write az://CONTAINER/…"
        )
    return ""


def account_of(connection_string: str) -> str:
    """Return the account that a connection string names, else ""."""
    settings = (part.partition("=") for part in connection_string.split(";"))
    return next((value for name, _, value in settings if name.lower() == "accountname"), "")


def raises_os_errors(
    method: Callable[..., Awaitable[Answer]],
) -> Callable[..., Awaitable[Answer]]:
    """Decorate a method of the file system (its first argument: a path) to raise OSError.

    An error of Azure's client cannot be pickled and holds the request, whose headers sign it.
    FileExistsError has the service's code as ``azure_code``.
    """

    @functools.wraps(method)
    async def wrapped(self: Any, path: str, *arguments: Any, **options: Any) -> Answer:
        try:
            return await method(self, path, *arguments, **options)
        except FileNotFoundError as error:
            failure: Exception = _named(error, path)
        except (AzureError, FileExistsError) as error:
            failure = _as_os_error(error, f"az://{path}")
        raise failure  # without the client's error as its context

    return wrapped


def _named(error: FileNotFoundError, path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), error.filename or path)


def _as_os_error(error: Exception, location: str) -> Exception:
    if isinstance(error, FileExistsError) and isinstance(error.__context__, AzureError):
        error = error.__context__
    text = without_secrets(next(iter(str(error).splitlines()), type(error).__name__))
    if is_transient(error):
        outage = StoreOutage(f"{location}: the server is unavailable ({text}); rerun later")
        mark_transient(outage)
        return outage
    code = getattr(error, "error_code", None)
    status = getattr(error, "status_code", None)
    if isinstance(error, FileExistsError) or status in _EXISTS:
        exists = FileExistsError(errno.EEXIST, text, location)
        vars(exists)["azure_code"] = str(getattr(code, "value", code) or "")
        return exists
    if status in _MISSING:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), location)
    if status in _REFUSED:
        return PermissionError(errno.EACCES, text, location)
    return OSError(f"{location}: {text}")
