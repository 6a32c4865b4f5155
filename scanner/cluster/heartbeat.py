"""Signs of life of an actor: only silence between them is a hang, however long an item takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pulse:
    """computed: how much of each running item is computed, by id. silent: seconds since the last
    sign of life, 0 without an item. slowest: the longest time between two of them while an item was
    computed, in seconds.
    """

    computed: dict[str, int] = field(default_factory=dict)
    silent: float = 0.0
    slowest: float = 0.0


class Heartbeat:
    """Notes the steps and batches of an actor's items, of which one is computed at a time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._computed: dict[str, int] = {}
        self._running, self._last, self._batch_began, self._slowest = 0, 0.0, 0.0, 0.0

    @contextmanager
    def running(self, item: str) -> Iterator[None]:
        """An item is prepared, computed and written."""
        self._running += 1
        self._last = self._now()
        try:
            yield
        finally:
            self._running -= 1
            self._computed.pop(item, None)
            self._last = self._now()

    @contextmanager
    def computing(self, item: str) -> Iterator[Callable[[int], None]]:
        """Time the batches of an item; yields what to call with its count after each."""

        def on_report(count: int) -> None:
            self._computed[item] = count
            self._end_batch()

        self._last = self._batch_began = self._now()
        yield on_report
        self._end_batch()

    def pulse(self) -> Pulse:
        silent = self._now() - self._last if self._running else 0.0
        return Pulse(dict(self._computed), silent, self._slowest)

    def _end_batch(self) -> None:
        now = self._now()
        self._slowest = max(self._slowest, now - self._batch_began)
        self._last = self._batch_began = now
