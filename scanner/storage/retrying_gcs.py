"""gcsfs with retries that wait for an outage to end, and errors of the operating system's kinds."""

import errno
import json
import os
import re
from typing import Any
from urllib.parse import unquote

import aiohttp
from fsspec.asyn import sync_wrapper
from gcsfs.core import GCSFileSystem
from gcsfs.retry import HttpError

from scanner.storage.counts import count_request
from scanner.storage.outage_wait import OutageWait
from scanner.storage.outages import FIRST_WAIT_SECONDS, RETRY_SECONDS
from scanner.storage.ranged_file import RangedFile, open_ranged
from scanner.storage.transient.statuses import TRANSIENT_STATUSES

# gcsfs waits for a silent server forever.
CONNECT_SECONDS = 10.0
SILENT_SECONDS = 60.0
_OBJECT = re.compile(r"/b/([^/?]+)/o(?:/([^/?]+)|\?(?:.*&)?name=([^&]+))?")
# Reasons with which Google's older interface throttles by status 403.
_RATE_LIMITS = {"rateLimitExceeded", "userRateLimitExceeded"}
_LOWEST_ERROR, _CANCELLED = 400, 499
_EMPTY_RANGE = 416


class RetryingGCS(GCSFileSystem):
    """Retry requests to Google Cloud Storage while an outage lasts
    (:class:`~scanner.storage.outage_wait.OutageWait`), not six times as gcsfs does.

    A missing object, one that is there already, and refused access raise FileNotFoundError,
    FileExistsError and PermissionError; any other refusal raises gcsfs's HttpError.
    """

    def __init__(
        self,
        *arguments: Any,
        retry_seconds: float = RETRY_SECONDS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        requests_timeout: Any = None,
        **options: Any,
    ) -> None:
        timeout = requests_timeout or aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
        )
        super().__init__(*arguments, requests_timeout=timeout, **options)
        self._outages = OutageWait(retry_seconds, first_wait_seconds)

    @classmethod
    def _get_kwargs_from_urls(cls, path: str) -> dict[str, Any]:
        """Return no options: # and ? belong to the name, which the parent reads as a generation."""
        return {}

    async def _request(
        self, method: str, path: str, *names: Any, data: Any = None, **options: Any
    ) -> Any:
        return await self._outages.wait_out(
            lambda: self._send(method, path, *names, data=data, **options),
            lambda: str(self._location),
            _location(path, names),
        )

    async def _send(
        self,
        method: str,
        path: str,
        *names: Any,
        headers: dict[str, str] | None = None,
        json: Any = None,
        data: Any = None,
        **parameters: Any,
    ) -> Any:
        """Make one request like the parent's ``_request``."""
        count_request(method.lower())
        for name in ("cache_type", "cache_source"):  # which only vary its user agent
            parameters.pop(name, None)
        await self._set_session()
        if hasattr(data, "seek"):
            data.seek(0)
        async with self.session.request(
            method=method,
            url=self._format_path(path, names),
            params=self._get_params(parameters),
            json=json,
            headers=self._get_headers(headers),
            data=data,
            timeout=self.requests_timeout,
        ) as answer:
            contents = await answer.read()
            if answer.status >= _LOWEST_ERROR and answer.status != _CANCELLED:
                error = _refusal(answer.status, contents, _location(path, names))
                vars(error).update(status=answer.status, headers=dict(answer.headers))
                raise error
            return answer.status, answer.headers, answer.request_info, contents

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """Return a file's bytes; none for a range that starts behind its end."""
        try:
            return await super()._cat_file(path, start=start, end=end, **options)
        except HttpError as error:
            if error.code != _EMPTY_RANGE:
                raise
            return b""

    async def _pipe_file(self, path: str, data: bytes, **options: Any) -> Any:
        """Write a file; one that must be absent by a single request, whatever its size, since that
        is what racing writers prove."""
        if options.get("mode") == "create":
            options["chunksize"] = len(data) + 1
        return await super()._pipe_file(path, data, **options)

    async def _rm_file(self, path: str, **options: Any) -> None:
        """Remove a file; one that is gone may have been removed by a request whose response was
        lost, and is not an error, as on S3."""
        try:
            await super()._rm_file(path, **options)
        except FileNotFoundError:
            if not self.split_path(path)[1]:
                raise

    rm_file = sync_wrapper(_rm_file)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> RangedFile:
        return open_ranged(self, path, mode, options)


def _location(path: str, names: tuple[Any, ...]) -> str:
    """Return the bucket and key of a request as a URL, without an upload's secret id."""
    found = _OBJECT.search(path)
    parts = names or (unquote(part) for part in (found.groups() if found else ()) if part)
    return "gs://" + "/".join(map(str, parts))


def _refusal(status: int, contents: bytes, location: str) -> Exception:
    """Return the error of a response."""
    about = _error_in(contents)
    reason = str(about.get("message") or contents[:500].decode(errors="replace"))
    if status == 403 and _RATE_LIMITS & set(_reasons(about)):
        status = 429
    if status in TRANSIENT_STATUSES:
        return HttpError({"code": status, "message": reason})
    if status == 404:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), location)
    if status == 412:
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), location)
    if "requester pays" in reason:
        reason += "; set FSSPEC_GS_REQUESTER_PAYS to the project that pays for the requests"
        return PermissionError(errno.EACCES, reason, location)
    if status in (401, 403):
        return PermissionError(errno.EACCES, reason, location)
    return HttpError({"code": status, "message": reason})


def _reasons(about: dict[str, Any]) -> list[str]:
    return [str(one.get("reason")) for one in about.get("errors", ()) if isinstance(one, dict)]


def _error_in(contents: bytes) -> dict[str, Any]:
    """Return the error that a response's JSON describes; {} if it describes none."""
    try:
        about = json.loads(contents)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return about if isinstance(about, dict) else {"message": str(about)}
