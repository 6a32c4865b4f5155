"""The actor of a pool: does items in overlapping steps, and commits them."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.util.metrics import Counter

from scanner.cluster.work import Item, Work, reporting
from scanner.run import Commit, Commits


class Worker:
    """Makes its work once. Calls of :meth:`do` may overlap: only the computing takes turns."""

    def __init__(self, commits: Commits, make_work: Callable[[], Work]) -> None:
        self.commits = commits
        self.work = make_work()
        self._device = ThreadPoolExecutor(1)
        self._computed: dict[str, int] = {}
        self._slices = Counter("memscan_slices", "slices committed by this actor")
        self._rows = Counter("memscan_rows", "rows in the parts committed by this actor")
        self._busy = Counter("memscan_busy_seconds", "seconds this actor computed")

    def ready(self) -> str:
        """The node's id, when the work has been made."""
        return ray.get_runtime_context().get_node_id()

    def computed(self) -> dict[str, int]:
        """What is computed so far of each item at work, by its id."""
        return dict(self._computed)

    def do(self, item: Item, generation: int) -> Commit:
        """The item's commit, by this actor or by whoever was first."""
        try:
            return self._do(item, generation)
        finally:
            self._computed.pop(item.id, None)

    def _do(self, item: Item, generation: int) -> Commit:
        there = self.commits.there(item.id, generation)
        if there:
            return there
        prepared = self.work.prepare(item)
        began, seconds, computed = self._device.submit(self._compute, item, prepared).result()
        result = self.work.finish(computed)
        result.notes |= {"worker": f"{os.uname().nodename}:{os.getpid()}", "began": began}
        commit = self.commits.commit(item.id, result.outputs, generation, seconds, result.notes)
        self._slices.inc()
        self._rows.inc(max(1, sum(part.rows for part in commit.parts)))
        self._busy.inc(max(seconds, 1e-6))
        return commit

    def _compute(self, item: Item, prepared: Any) -> tuple[float, float, Any]:
        def note(count: int) -> None:
            self._computed[item.id] = count

        began, start = time.time(), time.perf_counter()
        with reporting(note):
            computed = self.work.compute(prepared)
        return began, time.perf_counter() - start, computed
