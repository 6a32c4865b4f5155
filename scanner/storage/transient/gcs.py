"""Errors of gcsfs and of Google's clients, which are optional."""

from scanner.storage.transient.statuses import TRANSIENT_STATUSES, class_names, package_of

_CLASSES = ("HttpError", "GoogleAPICallError")


def is_transient(error: BaseException) -> bool | None:
    """Classify a response by its code, an error of authentication as Google marks it."""
    if package_of(error) not in ("gcsfs", "google"):
        return None
    names = class_names(error)
    if names & set(_CLASSES):
        return _number(getattr(error, "code", None)) in TRANSIENT_STATUSES
    if "TransportError" in names:
        return True
    return bool(getattr(error, "retryable", False)) if "GoogleAuthError" in names else None


def _number(code: object) -> int | None:
    """Return a status that some versions pass as text."""
    return int(code) if isinstance(code, int | str) and str(code).isdigit() else None
