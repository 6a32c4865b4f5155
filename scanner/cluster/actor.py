"""The Ray actor that runs items, whose steps overlap."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.util.metrics import Counter

from scanner.cluster.events import Location
from scanner.cluster.work import Item, Work
from scanner.cluster.worker import Computed, commit_item, compute
from scanner.run import Commit, Commits


class WorkActor:
    """Makes its work once. Calls of :meth:`run` may overlap; only computing takes turns."""

    def __init__(self, commits: Commits, make_work: Callable[[], Work]) -> None:
        self.commits = commits
        self.work = make_work()
        self._device = ThreadPoolExecutor(1)
        self._computed: dict[str, int] = {}
        self._slices = Counter("memscan_slices", "slices committed by this actor")
        self._rows = Counter("memscan_rows", "rows in the parts committed by this actor")
        self._busy = Counter("memscan_busy_seconds", "seconds this actor computed")

    def location(self) -> Location:
        """Return where this actor runs, once its work has been made."""
        context = ray.get_runtime_context()
        gpus = context.get_accelerator_ids().get("GPU", [])
        device = f"GPU {','.join(gpus)}" if gpus else "cpu"
        return Location(context.get_node_id(), os.uname().nodename, device)

    def computed(self) -> dict[str, int]:
        """Return how much of each running item is computed, by id."""
        return dict(self._computed)

    def run(self, item: Item, generation: int) -> Commit:
        """Return the item's commit, by this actor or by whoever was first."""
        seconds = 0.0

        def on_device(prepared: Any) -> Computed:
            nonlocal seconds
            report = self._computed.__setitem__
            task = self._device.submit(
                compute, self.work, prepared, lambda count: report(item.id, count)
            )
            result = task.result()
            seconds = result.seconds
            return result

        try:
            commit = commit_item(self.commits, self.work, item, generation, on_device)
        finally:
            self._computed.pop(item.id, None)
        if seconds:
            self._slices.inc()
            self._rows.inc(max(1, sum(part.rows for part in commit.parts)))
            self._busy.inc(max(seconds, 1e-6))
        return commit
