"""The pool on a real Ray cluster of several nodes in one machine, which come and go."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster

from scanner.cluster import (
    Committed,
    Event,
    Notice,
    Quarantined,
    Resources,
    Result,
    RetryLimits,
    Task,
    Tick,
    Timing,
)
from scanner.cluster.dispatcher import dispatch
from scanner.run import Commits, Output, Slice
from scanner.storage import Store
from tests.local_ray import local_ray
from tests.waiting import wait_until

ITEMS = 10
ALONE = 3
TASKS = [Task(Slice(f"{number:06d}", "", "", "", 1)) for number in range(ITEMS)]


class Work:
    """Says on which node; after ``ALONE`` items the first node waits for another one, which does
    one item and has its second one in hand until it is lost."""

    def __init__(self, notes: str) -> None:
        self.notes = Path(notes)
        self.node = ray.get_runtime_context().get_node_id()
        self.joined = bool(self._nodes())
        self.count = 0

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        self.count += 1
        (self.notes / f"node-{self.node}").touch()
        if self.joined and self.count == 2:
            wait_until(lambda: False, "this node is not lost")
        if self.count > ALONE:
            wait_until(lambda: len(self._nodes()) == 2, "no other node")
        time.sleep(0.05)
        return item

    def finish(self, item: Slice) -> Result:
        return Result([Output("scores", pa.table({"caption_id": [item.id]}))], {"node": self.node})

    def _nodes(self) -> list[Path]:
        return list(self.notes.glob("node-*"))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    ray.shutdown()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False},
    )
    try:
        with local_ray(address=cluster.address):
            yield cluster
    finally:
        cluster.shutdown()


def test_actors_join_with_a_node_whose_loss_costs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    commits = Commits(Store(str(tmp_path / "run")))
    notes = tmp_path / "notes"
    notes.mkdir()
    make, resources = partial(Work, str(notes)), Resources(actors=None, cpus=1, gpus=0)
    node = None
    events: list[Event] = []
    lost = False
    timing = Timing(fit_seconds=0.5)
    for event in dispatch(commits, TASKS, make, resources, in_flight=2, timing=timing):
        events.append(event)
        assert "AssertionError" not in getattr(event, "reason", ""), event
        nodes = {seen.commit.notes["node"] for seen in events if isinstance(seen, Committed)}
        if nodes and node is None:
            node = cluster.add_node(num_cpus=1)
        if len(nodes) == 2 and not lost:
            cluster.remove_node(node, allow_graceful=False)
            lost = True
    assert lost, "no actor of the new node has committed anything"
    assert sorted(commits.done()) == [task.item.id for task in TASKS]
    assert not [event for event in events if isinstance(event, Quarantined)]


class Cold(Work):
    """Cannot be made on one of the nodes; elsewhere it waits for three tries there."""

    def __init__(self, notes: str, bad: str) -> None:
        super().__init__(notes)
        if self.node == bad:
            (self.notes / f"start-{time.time_ns()}").touch()
            raise OSError("no space left for the model")

    def compute(self, item: Slice) -> Slice:
        wait_until(lambda: len(list(self.notes.glob("start-*"))) == 3, "too few starts")
        time.sleep(0.3)  # until the driver knows
        return item


def test_a_node_whose_starts_fail_is_taken_out_alone(cluster: Cluster, tmp_path: Path) -> None:
    commits = Commits(Store(str(tmp_path / "run")))
    bad = ray.nodes()[0]["NodeID"]
    good = cluster.add_node(num_cpus=1).node_id
    make, resources = partial(Cold, str(tmp_path), bad), Resources(actors=2, cpus=1, gpus=0)
    limits = RetryLimits(delays=(0.2,))
    events = list(dispatch(commits, TASKS, make, resources, in_flight=2, limits=limits))
    assert len(commits.done()) == ITEMS
    assert {commit.notes["node"] for commit in commits.all()} == {good}
    (out,) = [event for event in events if isinstance(event, Tick)][-1].out_of_service
    assert "no space left for the model" in out
    failed = [e for e in events if isinstance(e, Notice) and "cannot start" in e.message]
    assert len(failed) == limits.attempts
