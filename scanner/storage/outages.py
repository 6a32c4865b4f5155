"""Which errors pass by themselves: a store that throttles, restarts or cannot be reached."""

import errno
import socket

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

_PASSING = (
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
_LASTING = (boto.SSLError, aiohttp.ClientSSLError)
# s3fs tells 503 as EBUSY and 500 as EREMOTEIO; a pickled error has lost the answer it came from.
_ERRNOS = {
    errno.EBUSY,
    errno.EREMOTEIO,
    errno.EAGAIN,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
}
_STATUSES = {408, 429, 500, 502, 503, 504, 509}
# What stores also say with status 400, or 200 and an error in the body.
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
    """Whether an outage of a store or of the network is behind an error, so that waiting helps.

    Looks through the causes, pickled errors and Ray's ``RayTaskError`` included. Missing files,
    refused credentials and lost races (403, 404, 412) are none.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        if _is_passing(link):
            return True
        cause = getattr(link, "cause", None)  # of a RayTaskError
        waiting += [link.__cause__, cause if isinstance(cause, BaseException) else None]
        if not link.__suppress_context__:
            waiting.append(link.__context__)
    return False


def mark_transient(error: BaseException) -> None:
    """Have an error that has lost its cause, by pickling, still known as transient."""
    vars(error)["transient"] = True


def answered(error: BaseException | None) -> bool:
    """Whether a store's answer is behind an error, be it a refusal: then the store is there."""
    while error is not None:
        if isinstance(getattr(error, "response", None), dict):
            return True
        error = error.__cause__
    return False


def _is_passing(error: BaseException) -> bool:
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
    if isinstance(error, _LASTING):
        return False
    if isinstance(error, _PASSING):
        return True
    return isinstance(error, OSError) and error.errno in _ERRNOS
