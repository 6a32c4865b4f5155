"""Errors of the operating system and of sockets, whatever back end they come from."""

import errno
import socket

# s3fs maps 503 to EBUSY and 500 to EREMOTEIO; a pickled error has lost its response.
_ERRNOS = {
    errno.EBUSY,
    errno.EREMOTEIO,
    errno.EAGAIN,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
}


def is_transient(error: BaseException) -> bool | None:
    """Classify a connection that fails, a timeout, or a name that cannot be looked up for now."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError):
        return error.errno in _ERRNOS
    return None
