"""Wait for outages to end, in the asynchronous clients of stores."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from scanner.storage.counts import count_wait
from scanner.storage.error_messages import attach_store_url
from scanner.storage.outages import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    RETRY_SECONDS,
    got_response,
    is_transient,
    mark_transient,
    retry_after,
    was_waited_for,
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class OutageWait:
    """Repeats a store's requests for ``retry_seconds`` after their first transient failure.

    An endpoint that has never responded to this process is not waited for, since it is most likely
    misspelled. ``first_wait_seconds``: the wait before the first retry, doubled for each further
    one up to 10 s, and never shorter than the store demands (Retry-After, at most a minute).
    """

    retry_seconds: float = RETRY_SECONDS
    first_wait_seconds: float = FIRST_WAIT_SECONDS

    _responding: ClassVar[set[str]] = set()

    async def wait_out(
        self,
        request: Callable[[], Awaitable[Answer]],
        endpoint: Callable[[], str],
        location: str,
    ) -> Answer:
        """Return the answer of a request; ``location``: what it is for, recorded on its errors.

        Raises the last error, marked as transient if it is.
        """
        deadline = 0.0
        for attempt in itertools.count():
            try:
                answer = await request()
                self._responding.add(endpoint())
                return answer
            except Exception as error:
                failure = error
            # Outside the except clause, so that this error is not the context of a later one.
            attach_store_url(failure, location)
            if got_response(failure):
                self._responding.add(endpoint())
            if was_waited_for(failure) or not is_transient(failure):
                raise failure
            wait = min(LONGEST_WAIT_SECONDS, self.first_wait_seconds * 2**attempt)
            wait *= random.uniform(0.5, 1)  # workers that failed together must not retry together
            wait = max(wait, retry_after(failure))
            now = time.monotonic()
            deadline = deadline or now + self.retry_seconds
            if endpoint() not in self._responding or now + wait > deadline:
                mark_transient(failure)
                raise failure
            await asyncio.sleep(wait)
            count_wait(wait)
        raise AssertionError("the last attempt returns or raises")
