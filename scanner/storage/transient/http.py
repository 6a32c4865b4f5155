"""Errors of aiohttp, with which fsspec reads http:// and https://, and gcsfs its store."""

import aiohttp

from scanner.storage.transient.statuses import TRANSIENT_STATUSES

_TRANSIENT = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


def is_transient(error: BaseException) -> bool | None:
    """Classify a response by its status, a connection that fails by its class."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status in TRANSIENT_STATUSES
    if isinstance(error, aiohttp.ClientSSLError):
        return False
    return True if isinstance(error, _TRANSIENT) else None
