"""Errors of Azure's client, which adlfs uses; both are optional."""

from scanner.storage.transient.statuses import TRANSIENT_STATUSES, class_names, package_of

# Before an answer, while it is received, and one that ends early.
_TRANSIENT = {"ServiceRequestError", "ServiceResponseError", "IncompleteReadError"}


def is_transient(error: BaseException) -> bool | None:
    """Classify a response by its status, a request without one by its class."""
    if package_of(error) != "azure":
        return None
    names = class_names(error)
    if names & _TRANSIENT:
        return True
    if "HttpResponseError" in names:
        return getattr(error, "status_code", None) in TRANSIENT_STATUSES
    return None
