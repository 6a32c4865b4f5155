"""HTTP statuses of a server that throttles, restarts or is overloaded, and names of classes."""

TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 509})


def class_names(error: BaseException) -> set[str]:
    """Return the names of an error's class and its bases."""
    return {kind.__name__ for kind in type(error).__mro__}


def package_of(error: BaseException) -> str:
    """Return the top-level package that defines an error's class."""
    return type(error).__module__.partition(".")[0]


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error's ``response``, if it has one."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
