"""Fetch files that a dataset links to from untrusted hosts, with short timeouts."""

import math
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fsspec.asyn import get_loop, sync

if TYPE_CHECKING:
    import aiohttp  # loads slowly

CONNECT_SECONDS = 5.0
SILENT_SECONDS = 5.0
TOTAL_SECONDS = 20.0
REDIRECTS = 5
ATTEMPTS = 2
# Consecutive failures after which a host is left alone.
FAILURES = 2
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_CHUNK = 1 << 16


class Missing(Exception):
    """A linked file is unavailable; the message is the same for all failures of one kind."""


class ImageHosts:
    """Fetch linked files over HTTP without waiting long for unresponsive hosts.

    Retries once if the host is busy or drops the connection, never if it is silent, slow or
    refuses. Follows redirects to http and https only. A file fails after ``silent_seconds`` without
    data, or ``total_seconds`` in all. A host that failed repeatedly is contacted again after
    ``retry_seconds``, by default never.
    """

    def __init__(
        self,
        silent_seconds: float = SILENT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
        retry_seconds: float = math.inf,
    ) -> None:
        import aiohttp

        self._timeout = aiohttp.ClientTimeout(
            total_seconds, connect=CONNECT_SECONDS, sock_read=silent_seconds
        )
        self._retry_seconds = retry_seconds
        self._failures: Counter[str] = Counter()
        self._failed_at: dict[str, float] = {}

    def fetch(self, url: str, most_bytes: int) -> bytes:
        """Return at most ``most_bytes`` + 1 bytes of a file. Raises Missing."""
        host = urlsplit(url).netloc
        silent = time.monotonic() - self._failed_at.get(host, -math.inf)
        if self._failures[host] >= FAILURES and silent < self._retry_seconds:
            raise Missing("its host failed before and is not contacted again")
        try:
            # In fsspec's thread: the caller's may have a running loop, as in a notebook.
            data = sync(get_loop(), _fetch, url, most_bytes + 1, self._timeout)
        except Missing as error:
            self._failures[host] = self._failures[host] + 1 if error.__cause__ else 0
            self._failed_at[host] = time.monotonic()
            raise
        self._failures[host] = 0
        return data


async def _fetch(url: str, most_bytes: int, timeout: "aiohttp.ClientTimeout") -> bytes:
    """Raise Missing, with a cause if the host is at fault."""
    import aiohttp

    async with aiohttp.ClientSession(
        timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        for attempt in range(ATTEMPTS):
            try:
                return await _try(session, url, most_bytes)
            except TimeoutError as error:
                raise Missing("its host is silent or too slow") from error
            except (aiohttp.InvalidURL, aiohttp.TooManyRedirects, ValueError) as error:
                raise Missing(f"no valid address: {type(error).__name__}") from None
            except aiohttp.ClientResponseError as error:
                if error.status not in _BUSY:
                    raise Missing(f"HTTP status {error.status}") from None
                if attempt + 1 == ATTEMPTS:
                    raise Missing(f"HTTP status {error.status}") from error
            except (aiohttp.ClientError, OSError) as error:
                # aiohttp retries a dropped connection itself.
                raise Missing(f"its host cannot be reached: {type(error).__name__}") from error
    raise AssertionError("the last attempt returns or raises")


async def _try(session: "aiohttp.ClientSession", url: str, most_bytes: int) -> bytes:
    async with session.get(url, max_redirects=REDIRECTS, raise_for_status=True) as answer:
        data = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            data += chunk
            if len(data) >= most_bytes:
                break
        return bytes(data[:most_bytes])
