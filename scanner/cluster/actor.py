"""The Ray actor that runs items, whose steps overlap."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from scanner.cluster.events import Location
from scanner.cluster.heartbeat import Heartbeat, Pulse
from scanner.cluster.metrics import COMPUTE_SECONDS, ITEM_SECONDS, ITEMS_COMMITTED, Metrics
from scanner.cluster.work import Item, Measured, Proving, Work, notice_of
from scanner.cluster.worker import Computed, commit_item, compute
from scanner.run import Commit, Commits

REPORTS = "reports"


class WorkActor:
    """Makes its work once, when it is started at a place that suits the driver.

    ``make_work``: its factory, pickled. It is loaded in :meth:`start`, with the libraries that it
    imports, so that a failure or a hang of this is that of a start on a known node.

    ``tags``: of its metrics. Calls of :meth:`run` may overlap; only computing takes turns.
    """

    def __init__(self, commits: Commits, make_work: bytes, tags: Mapping[str, str]) -> None:
        self.commits, self._make_work = commits, make_work
        self._device = ThreadPoolExecutor(1)
        self._heartbeat = Heartbeat()
        self._metrics = Metrics(tags).at(os.uname().nodename, _device())

    def location(self) -> Location:
        """Return where this actor runs."""
        node = ray.get_runtime_context().get_node_id()
        return Location(node, os.uname().nodename, _device())

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
        self._metrics.record_store()
        self._metrics.repeat_gauges()
        return self._heartbeat.pulse()

    def run(self, item: Item, generation: int) -> Commit:
        """Return the item's commit, by this actor or by the first to commit it."""
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
            self._measure(commit, seconds)
        return commit

    def _measure(self, commit: Commit, seconds: float) -> None:
        self._metrics.record(ITEMS_COMMITTED)
        self._metrics.record(ITEM_SECONDS, seconds)
        self._metrics.record(COMPUTE_SECONDS, seconds)
        self._metrics.record_store()
        if isinstance(self.work, Measured):
            self.work.measure(self._metrics, commit)


def _device() -> str:
    """Return the accelerators of this actor by id, such as ``GPU 0``, or ``cpu``."""
    gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return f"GPU {','.join(gpus)}" if gpus else "cpu"
