"""Record the events of an execution on a pool as metrics of the driver."""

import os
from typing import Any

from scanner.cluster.events import Committed, Event, Notice, Quarantined, Requeued, Tick
from scanner.cluster.metrics import (
    ACTORS,
    ACTORS_PLACED,
    ITEMS_LEFT,
    ITEMS_QUARANTINED,
    OUT_OF_SERVICE,
    RETRIES,
    Metrics,
)


class Monitor:
    """``items``: that have no commit yet."""

    def __init__(self, metrics: Metrics, items: int) -> None:
        self._metrics = metrics.at(os.uname().nodename)
        self._left, self._quarantined = items, 0

    def __call__(self, event: Event[Any]) -> None:
        """Count retries and quarantined items; set the gauges at each Tick."""
        if isinstance(event, Committed):
            self._left -= 1
        elif isinstance(event, Quarantined):
            self._left -= 1
            self._quarantined += 1
        elif isinstance(event, Requeued | Notice) and event.cause:
            self._count_retry(event)
        elif isinstance(event, Tick):
            self._set(event)

    def close(self) -> None:
        """Record that no actor is left."""
        self._set(Tick())

    def _count_retry(self, event: Requeued[Any] | Notice) -> None:
        self._metrics.record(RETRIES, tags={"cause": event.cause, **event.location.fields()})

    def _set(self, tick: Tick) -> None:
        for metric, value in (
            (ACTORS, tick.actors),
            (ACTORS_PLACED, tick.placed),
            (OUT_OF_SERVICE, len(tick.out_of_service)),
            (ITEMS_LEFT, self._left),
            (ITEMS_QUARANTINED, self._quarantined),
        ):
            self._metrics.record(metric, value)
        self._metrics.record_store()
