"""Limits on retries, and polling intervals."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryLimits:
    """Limits on failures.

    attempts: tries per item before it is quarantined, starts per node before it is taken out of
    service, and starts on unknown nodes before the execution ends if no actor is alive. delays:
    seconds before the next try, by the number of failures. outage_seconds: how long a store or hub
    that does not answer is waited for. node_loss_seconds: how long after a process's death Ray may
    still report that its node was lost. restarts: deaths per actor without a commit in between.
    consecutive_failures: failures of one actor in a row after which a new process replaces it.
    device_items: items that fail on a device only, after which it is taken out of service.
    start_seconds: how long an actor may take to start. hang_seconds, hang_factor: an actor that is
    silent for so long, or for this multiple of the slowest batch if that is more, is replaced;
    twice as long for an item that was taken for hanging before. queue_seconds: the work that an
    actor has queued, which saves it waiting for the driver.
    """

    attempts: int = 3
    delays: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
    outage_seconds: float = 3600.0
    node_loss_seconds: float = 45.0
    restarts: int = 5
    consecutive_failures: int = 2
    device_items: int = 2
    start_seconds: float = 3600.0
    hang_seconds: float = 1800.0
    hang_factor: float = 20.0
    queue_seconds: float = 60.0

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after this many failures (from 1), spread by a quarter."""
        return self.delays[min(failures, len(self.delays)) - 1] * random.uniform(0.75, 1.25)


@dataclass(frozen=True)
class Timing:
    """Seconds between events of type Tick, between reports of an actor, and between checks of how
    many actors the cluster has room for; ``now`` is the clock."""

    tick_seconds: float = 1.0
    report_seconds: float = 2.0
    fit_seconds: float = 5.0
    now: Callable[[], float] = time.monotonic


DEFAULT_LIMITS = RetryLimits()
DEFAULT_TIMING = Timing()
