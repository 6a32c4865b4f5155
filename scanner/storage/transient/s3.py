"""Errors of botocore, which s3fs uses."""

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from scanner.storage.transient.statuses import TRANSIENT_STATUSES

_TRANSIENT = (
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    ResponseParserError,
)
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


def is_transient(error: BaseException) -> bool | None:
    """Classify an error of S3 by its status and code, one of botocore by its class."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # a ClientError
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in TRANSIENT_STATUSES or response.get("Error", {}).get("Code") in _CODES
    if isinstance(error, boto.SSLError):
        return False
    return True if isinstance(error, _TRANSIENT) else None
