"""Errors of botocore, which s3fs uses."""

import sys

from scanner.storage.transient.statuses import TRANSIENT_STATUSES

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
    if "botocore" not in sys.modules:  # it loads slowly
        return None
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    if isinstance(error, boto.SSLError):
        return False
    transient = (
        boto.ConnectionError,
        boto.HTTPClientError,
        boto.IncompleteReadError,
        boto.CredentialRetrievalError,
        boto.MetadataRetrievalError,
        ResponseParserError,
    )
    return True if isinstance(error, transient) else None
