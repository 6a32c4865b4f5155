"""Classify errors as outages: a store or hub that throttles, restarts or cannot be reached."""

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from scanner.credentials import without_secrets
from scanner.storage.counts import count_wait
from scanner.storage.transient import azure, gcs, http, hub, network, s3
from scanner.storage.transient import retry_after as headers
from scanner.storage.transient.statuses import class_names, status_of

RETRY_SECONDS = 120.0
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 10.0

# The first that knows an error decides: errors of clients may also be of the operating system.
_CLASSIFIERS = (s3, http, hub, gcs, azure, network)
# Classes of a connection that could not be made.
_UNREACHED = {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError"}

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


class StoreOutage(OSError):
    """A store or hub is unavailable for now.

    Stands for errors of clients that cannot be pickled without their requests, whose headers
    contain credentials.
    """


def is_transient(error: BaseException) -> bool:
    """Return whether a store or network outage caused an error, so that retrying later helps.

    Follows the chain of causes, also through pickled errors and Ray's ``RayTaskError``. Missing
    files, refused credentials and lost races (403, 404, 412) are not transient.
    """
    return any(map(_is_transient_link, _chain(error)))


def mark_transient(error: BaseException) -> None:
    """Mark an error as transient, so that it stays so when pickling drops its cause."""
    vars(error)["transient"] = True


def was_waited_for(error: BaseException) -> bool:
    """Return whether an error is, or was raised from, one that is marked as transient."""
    return any(vars(link).get("transient") for link in _chain(error))


def got_response(error: BaseException) -> bool:
    """Return whether the store responded, if only with a refusal: then it is reachable."""
    return any(_holds_response(link) for link in _chain(error))


def retry_after(error: BaseException) -> float:
    """Return the seconds that a store asks to wait before the next request, at most 60; else 0."""
    return max(map(headers.retry_after, _chain(error)), default=0.0)


@contextmanager
def raises_outages(location: str) -> Iterator[None]:
    """Raise StoreOutage for any transient error within; others pass unchanged.

    ``location``: the URL or hub id, for the message. An error that is marked as transient, as those
    of S3 are, passes too: it can be pickled as it is.
    """
    try:
        yield
    except Exception as error:
        if vars(error).get("transient") or not is_transient(error):
            raise
        # An HTTP file system calls any failure a missing file; its cause says what happened.
        link = next(filter(_is_transient_link, _chain(error)))
        reason = next(iter(str(link).splitlines()), "")
        outage = StoreOutage(
            without_secrets(
                f"{location}: the server is unavailable ({type(link).__name__}: {reason}); check "
                "the location and the network, or rerun the same command later"
            )
        )
        mark_transient(outage)
        raise outage from error


def retry_outages(
    call: Callable[Parameters, Returned],
    seconds: float = RETRY_SECONDS,
    first_wait: float = FIRST_WAIT_SECONDS,
) -> Callable[Parameters, Returned]:
    """Return a function that repeats ``call`` for up to ``seconds`` while an outage makes it fail.

    An error that is marked as transient has been waited for already. A server that never answered
    is most likely misspelled, or there is no network: its error is raised at once.
    """

    @functools.wraps(call)
    def patient(*arguments: Parameters.args, **options: Parameters.kwargs) -> Returned:
        deadline = time.monotonic() + seconds
        wait, has_answered = first_wait, False
        while True:
            try:
                return call(*arguments, **options)
            except Exception as error:
                is_waited_for = bool(vars(error).get("transient"))
                if is_waited_for or not is_transient(error):
                    raise
                has_answered = has_answered or not _is_unreached(error)
                asked = retry_after(error)
                if not has_answered or time.monotonic() + max(asked, wait) > deadline:
                    raise
            # Workers that failed together must not retry together.
            seconds_waited = max(asked, wait * random.uniform(0.5, 1))
            time.sleep(seconds_waited)
            count_wait(seconds_waited)
            wait = min(LONGEST_WAIT_SECONDS, 2 * wait)

    return patient


def _is_unreached(error: BaseException) -> bool:
    """Return whether no link of an error comes from a server or a connection to it."""
    links = list(_chain(error))
    answered = any(map(_holds_response, links))
    return not answered and any(_UNREACHED & class_names(link) for link in links)


def _holds_response(error: BaseException) -> bool:
    """Return whether an error of any client came with a response (a dict: of botocore)."""
    return (
        isinstance(getattr(error, "response", None), dict)
        or status_of(error) is not None
        or any(getattr(error, name, None) is not None for name in ("status", "status_code"))
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and everything that it was raised from, or while it was handled."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        cause = getattr(link, "cause", None)  # of a RayTaskError
        waiting += [link.__cause__, cause if isinstance(cause, BaseException) else None]
        if not link.__suppress_context__:
            waiting.append(link.__context__)


def _is_transient_link(error: BaseException) -> bool:
    if vars(error).get("transient"):
        return True
    verdicts = (classifier.is_transient(error) for classifier in _CLASSIFIERS)
    return next((verdict for verdict in verdicts if verdict is not None), False)
