"""Decide when a failed item is retried and when it is quarantined."""

from collections.abc import Callable, Iterable
from typing import Generic

from scanner.cluster.events import NOWHERE, ItemT, Location, Quarantined, Requeued, Task
from scanner.cluster.failures import ERROR, HANG, STORE_OUTAGE
from scanner.cluster.limits import DEFAULT_LIMITS, DEFAULT_TIMING, RetryLimits, Timing
from scanner.errors import UserError


class RetryPolicy(Generic[ItemT]):
    """Counts failures per item, and holds the items that failed until their next try.

    ``retry_queue``: the time from which each may be tried again, and its task.
    """

    def __init__(
        self, limits: RetryLimits = DEFAULT_LIMITS, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self.limits, self.now = limits, timing.now
        self.retry_queue: list[tuple[float, Task[ItemT]]] = []
        self._failures: dict[str, int] = {}
        self._hangs: dict[str, int] = {}
        self._deaths: list[tuple[float, str, list[str]]] = []
        self._outage_since: float | None = None

    def due(self) -> list[Task[ItemT]]:
        """Return the tasks whose delay is over."""
        now = self.now()
        return [task for due, task in self.retry_queue if due <= now]

    def take(self, task: Task[ItemT]) -> None:
        """Remove a task that is being tried again."""
        self.retry_queue[:] = [entry for entry in self.retry_queue if entry[1] is not task]

    def record_failure(
        self,
        task: Task[ItemT],
        reason: str,
        location: Location = NOWHERE,
        traceback: str = "",
        cause: str = ERROR,
    ) -> Requeued[ItemT] | Quarantined[ItemT]:
        """Count a failure of the item itself; it is requeued, or quarantined after the last try."""
        item = task.item
        failures = self._failures[item.id] = self._failures.get(item.id, 0) + 1
        if failures >= self.limits.attempts:
            return Quarantined(item, reason, location, traceback)
        self.retry_queue.append((self.now() + self.limits.delay(failures), task))
        return Requeued(item, reason, location, cause)

    def record_hang(
        self, task: Task[ItemT], reason: str, location: Location = NOWHERE
    ) -> Requeued[ItemT] | Quarantined[ItemT]:
        """Count a failure of an item that was taken for hanging, which gets longer next time."""
        self._hangs[task.item.id] = self._hangs.get(task.item.id, 0) + 1
        return self.record_failure(task, reason, location, cause=HANG)

    def patience(self, tasks: Iterable[Task[ItemT]]) -> int:
        """Return by how much longer to wait for these tasks before they count as hanging."""
        return 2 ** max((self._hangs.get(task.item.id, 0) for task in tasks), default=0)

    def wait_for_store(
        self, task: Task[ItemT], reason: str, location: Location = NOWHERE
    ) -> Requeued[ItemT]:
        """Requeue an item that failed because the store does not answer, which does not count.

        Raises UserError once that has lasted longer than ``outage_seconds``.
        """
        now = self.now()
        if self._outage_since is None:
            self._outage_since = now
        if now - self._outage_since > self.limits.outage_seconds:
            raise UserError(
                f"the store has not answered for {self.limits.outage_seconds / 60:.0f} minutes "
                f"({reason}); what is committed is safe: rerun the same command once it answers"
            )
        return self.requeue(task, f"the store does not answer: {reason}", location, STORE_OUTAGE)

    def requeue(
        self, task: Task[ItemT], reason: str, location: Location = NOWHERE, cause: str = ERROR
    ) -> Requeued[ItemT]:
        """Requeue an item whose failure was not its own, and does not count."""
        self.retry_queue.append((self.now() + self.limits.delay(2), task))
        return Requeued(task.item, reason, location, cause)

    def end_outage(self) -> None:
        """The store has answered."""
        self._outage_since = None

    def record_death(self, node: str, tasks: list[Task[ItemT]]) -> None:
        """Remember which items a process had when it died: its node may turn out to be lost."""
        self._deaths.append((self.now(), node, [task.item.id for task in tasks]))

    def discount_lost_nodes(self, is_alive: Callable[[str], bool]) -> int:
        """Take back failures of processes whose node is lost, which Ray may report late.

        Returns the number of such deaths.
        """
        discounted = 0
        for death in list(self._deaths):
            since, node, items = death
            if not is_alive(node):
                discounted += 1
                for item in items:
                    self._failures[item] = max(0, self._failures.get(item, 0) - 1)
            elif self.now() - since < self.limits.node_loss_seconds:
                continue
            self._deaths.remove(death)
        return discounted
