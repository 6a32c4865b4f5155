"""Errors of clients that are not dependencies are recognized by their class names."""

import pytest

from scanner.storage import is_transient


def _error(
    module: str, name: str, base: type[Exception] = Exception, **values: object
) -> Exception:
    """Return an error as a client's module raises it."""
    error = type(name, (base,), {"__module__": module})("from a store")
    vars(error).update(values)
    return error


AZURE = "azure.core.exceptions"
_AZURE_RESPONSE = type("HttpResponseError", (Exception,), {"__module__": AZURE})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_error("gcsfs.retry", "HttpError", code=503), True),
        (_error("gcsfs.retry", "HttpError", code="429"), True),
        (_error("gcsfs.retry", "HttpError", code=403), False),
        (_error("gcsfs.retry", "HttpError", code=None), False),
        (_error("google.api_core.exceptions", "GoogleAPICallError", code=500), True),
        (_error("google.auth.exceptions", "TransportError"), True),
        (_error("google.auth.exceptions", "GoogleAuthError", retryable=True), True),
        (_error("google.auth.exceptions", "GoogleAuthError", retryable=False), False),
        (_error(AZURE, "HttpResponseError", status_code=503), True),
        (_error(AZURE, "ClientAuthenticationError", _AZURE_RESPONSE, status_code=401), False),
        (_error(AZURE, "ResourceNotFoundError", _AZURE_RESPONSE, status_code=404), False),
        (_error(AZURE, "ServiceRequestError"), True),
        (_error(AZURE, "ServiceResponseError"), True),
        (_error(AZURE, "IncompleteReadError", _AZURE_RESPONSE, status_code=200), True),
        (_error("elsewhere", "HttpError", code=503), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_errors_of_google_s_and_azure_s_clients(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected
