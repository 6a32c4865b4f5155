"""Signs of life of an actor: only silence between them is a hang, however long an item takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pulse:
    """computed: how much of each running item is computed, by id. beats: number of signs of life
    so far. slowest: the longest time between two of them while an item was computed, in seconds.
    """

    computed: dict[str, int] = field(default_factory=dict)
    beats: int = 0
    slowest: float = 0.0


class Heartbeat:
    """Counts the batches of the items that an actor computes, one item at a time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._computed: dict[str, int] = {}
        self._beats, self._slowest, self._last = 0, 0.0, now()

    @contextmanager
    def computing(self, item: str) -> Iterator[Callable[[int], None]]:
        """Time an item; yields what to call with its count after each batch."""

        def on_report(count: int) -> None:
            self._computed[item] = count
            self._beat()

        self._last = self._now()
        self._beats += 1
        yield on_report
        self._beat()

    def forget(self, item: str) -> None:
        """The item has ended."""
        self._computed.pop(item, None)
        self._beats += 1

    def pulse(self) -> Pulse:
        return Pulse(dict(self._computed), self._beats, self._slowest)

    def _beat(self) -> None:
        now = self._now()
        self._slowest = max(self._slowest, now - self._last)
        self._last = now
        self._beats += 1
