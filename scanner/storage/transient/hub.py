"""Errors of huggingface_hub and its HTTP clients: httpx (since version 1.0), before it requests."""

from scanner.storage.transient.statuses import (
    TRANSIENT_STATUSES,
    class_names,
    package_of,
    status_of,
)

_PACKAGES = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests")
_TRANSIENT = {
    *("TimeoutException", "NetworkError", "RemoteProtocolError", "ProxyError"),  # of httpx
    *("ConnectionError", "Timeout", "ChunkedEncodingError"),  # of requests
}
# A certificate that is refused stays refused; HF_HUB_OFFLINE stays set.
_PERMANENT = {"SSLError", "OfflineModeIsEnabled"}
_CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"


def is_transient(error: BaseException) -> bool | None:
    """Classify a response of the hub by its status, a request without one by its class."""
    if package_of(error) not in _PACKAGES:
        return None
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT_STATUSES
    names = class_names(error)
    if names & _PERMANENT or _CERTIFICATE in str(error):
        return False
    return True if names & _TRANSIENT else None
