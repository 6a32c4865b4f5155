"""Errors of aiohttp, with which fsspec reads http:// and https://, and gcsfs its store."""

import sys

from scanner.storage.transient.statuses import TRANSIENT_STATUSES


def is_transient(error: BaseException) -> bool | None:
    """Classify a response by its status, a connection that fails by its class."""
    if "aiohttp" not in sys.modules:  # it loads slowly
        return None
    import aiohttp

    if isinstance(error, aiohttp.ClientResponseError):
        return error.status in TRANSIENT_STATUSES
    if isinstance(error, aiohttp.ClientSSLError):
        return False
    transient = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    return True if isinstance(error, transient) else None
