"""The Ray actor that runs items, whose steps overlap."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.util.metrics import Counter

from scanner.cluster.events import Location
from scanner.cluster.heartbeat import Heartbeat, Pulse
from scanner.cluster.work import Item, Proving, Work, notice_of
from scanner.cluster.worker import Computed, commit_item, compute
from scanner.run import Commit, Commits

REPORTS = "reports"


class WorkActor:
    """Makes its work once, when it is started at a place that suits the driver.

    ``make_work``: its factory, pickled. It is loaded in :meth:`start`, with the libraries that it
    imports, so that a failure or a hang of this is that of a start on a known node.

    Calls of :meth:`run` may overlap; only computing takes turns.
    """

    def __init__(self, commits: Commits, make_work: bytes) -> None:
        self.commits, self._make_work = commits, make_work
        self._device = ThreadPoolExecutor(1)
        self._heartbeat = Heartbeat()
        self._slices = Counter("memscan_slices", "slices committed by this actor")
        self._rows = Counter("memscan_rows", "rows in the parts committed by this actor")
        self._busy = Counter("memscan_busy_seconds", "seconds this actor computed")

    def location(self) -> Location:
        """Return where this actor runs."""
        context = ray.get_runtime_context()
        gpus = context.get_accelerator_ids().get("GPU", [])
        device = f"GPU {','.join(gpus)}" if gpus else "cpu"
        return Location(context.get_node_id(), os.uname().nodename, device)

    def start(self) -> tuple[dict[str, str], str]:
        """Make the work, and let it try the device; returns what it runs on, and its notice."""
        make_work: Callable[[], Work] = ray.cloudpickle.loads(self._make_work)
        self.work = make_work()
        if not isinstance(self.work, Proving):
            return {}, ""
        self.work.prove()
        return self.work.environment, notice_of(self.work)

    @ray.method(concurrency_group=REPORTS)
    def pulse(self) -> Pulse:
        """Return what this actor has computed, and that it is alive."""
        return self._heartbeat.pulse()

    def run(self, item: Item, generation: int) -> Commit:
        """Return the item's commit, by this actor or by whoever was first."""
        seconds = 0.0

        def computing(prepared: Any) -> Computed:
            with self._heartbeat.computing(item.id) as on_report:
                return compute(self.work, prepared, on_report)

        def on_device(prepared: Any) -> Computed:
            nonlocal seconds
            result = self._device.submit(computing, prepared).result()
            seconds = result.seconds
            return result

        with self._heartbeat.running(item.id):
            commit = commit_item(self.commits, self.work, item, generation, on_device)
        if seconds:
            self._slices.inc()
            self._rows.inc(max(1, sum(part.rows for part in commit.parts)))
            self._busy.inc(max(seconds, 1e-6))
        return commit
