"""Classify errors as transient: a store that throttles, restarts or cannot be reached."""

import errno
import socket

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

_TRANSIENT = (
    ConnectionError,
    TimeoutError,
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    ResponseParserError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
)
_PERMANENT = (boto.SSLError, aiohttp.ClientSSLError)
# s3fs maps 503 to EBUSY and 500 to EREMOTEIO; a pickled error has lost its response.
_ERRNOS = {
    errno.EBUSY,
    errno.EREMOTEIO,
    errno.EAGAIN,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
}
_STATUSES = {408, 429, 500, 502, 503, 504, 509}
# Error codes that stores also send with status 400, or with 200 and an error in the body.
_CODES = {
    "InternalError",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "TooManyRequestsException",
    "XAmzContentSHA256Mismatch",
}


def is_transient(error: BaseException) -> bool:
    """Return whether a store or network outage caused an error, so that retrying later helps.

    Follows the chain of causes, also through pickled errors and Ray's ``RayTaskError``. Missing
    files, refused credentials and lost races (403, 404, 412) are not transient.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        if _is_transient_link(link):
            return True
        cause = getattr(link, "cause", None)  # of a RayTaskError
        waiting += [link.__cause__, cause if isinstance(cause, BaseException) else None]
        if not link.__suppress_context__:
            waiting.append(link.__context__)
    return False


def mark_transient(error: BaseException) -> None:
    """Mark an error as transient, so that it stays so when pickling drops its cause."""
    vars(error)["transient"] = True


def got_response(error: BaseException | None) -> bool:
    """Return whether the store responded, if only with a refusal: then it is reachable."""
    while error is not None:
        if isinstance(getattr(error, "response", None), dict):
            return True
        error = error.__cause__
    return False


def _is_transient_link(error: BaseException) -> bool:
    response = getattr(error, "response", None)
    if vars(error).get("transient"):
        return True
    if isinstance(response, dict):  # a ClientError of botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _STATUSES or response.get("Error", {}).get("Code") in _CODES
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status in _STATUSES
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, _PERMANENT):
        return False
    if isinstance(error, _TRANSIENT):
        return True
    return isinstance(error, OSError) and error.errno in _ERRNOS
