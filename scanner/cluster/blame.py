"""The blame book-keeping of a pool: whose fault a failure is, and when its item is tried again."""

import time

from scanner.cluster.events import Event, Task
from scanner.cluster.failures import node_lives
from scanner.errors import UserError

ATTEMPTS = 3
DELAYS = (1.0, 3.0, 10.0, 30.0)
OUTAGE_SECONDS = 3600.0
JUDGED_SECONDS = 45.0


class Blame:
    """Counts failures by item, and keeps the items that failed (suspects) until they are due."""

    def __init__(self) -> None:
        self.suspects: list[tuple[float, Task]] = []
        self._failures: dict[str, int] = {}
        self._deaths: list[tuple[float, str, list[str]]] = []
        self._outage_since: float | None = None

    def due(self) -> Task | None:
        """Take out a suspect whose delay is over."""
        pair = next((pair for pair in self.suspects if pair[0] <= time.monotonic()), None)
        if pair is None:
            return None
        self.suspects.remove(pair)
        return pair[1]

    def count(self, task: Task, reason: str) -> Event:
        """A failure of the item's own: it becomes a suspect, or is given up."""
        item = task.item
        self._failures[item.id] = self._failures.get(item.id, 0) + 1
        if self._failures[item.id] < ATTEMPTS:
            delay = DELAYS[self._failures[item.id] - 1]
            self.suspects.append((time.monotonic() + delay, task))
            return Event("retry", item, reason=reason)
        return Event("quarantine", item, reason=reason)

    def wait_out(self, task: Task, reason: str) -> Event:
        """The store is away: nobody's fault. Raises UserError after ``OUTAGE_SECONDS`` of it."""
        now = time.monotonic()
        self._outage_since = self._outage_since or now
        if now - self._outage_since > OUTAGE_SECONDS:
            raise UserError(
                f"the store has not answered for {OUTAGE_SECONDS / 60:.0f} minutes ({reason}); "
                "what is committed is safe: run the same command again when it does"
            )
        self.suspects.append((now + DELAYS[1], task))
        return Event("retry", task.item, reason=f"the store does not answer: {reason}")

    def outage_over(self) -> None:
        self._outage_since = None

    def remember_death(self, node: str, tasks: list[Task]) -> None:
        """A process died with these items; whether its node did is known only later."""
        self._deaths.append((time.monotonic(), node, [task.item.id for task in tasks]))

    def forgive(self) -> int:
        """Ray may learn only later that a process died with its node: then it does not count.

        Returns how many deaths that holds for.
        """
        forgiven = 0
        for entry in list(self._deaths):
            since, node, items = entry
            if not node_lives(node):
                forgiven += 1
                for item in items:
                    self._failures[item] = max(0, self._failures.get(item, 0) - 1)
            elif time.monotonic() - since < JUDGED_SECONDS:
                continue
            self._deaths.remove(entry)
        return forgiven
