"""The pool on a real Ray cluster of several nodes in one machine, which come and go."""

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster

from scanner.cluster import Event, Resources, Result, Task, run_items
from scanner.run import Commits, Output, Slice
from scanner.storage import Store

TASKS = [Task(Slice(f"{number:06d}", "", "", "", 1)) for number in range(30)]


class Work:
    """Takes half a second an item, and says on which node."""

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        time.sleep(0.5)
        return item

    def finish(self, item: Slice) -> Result:
        node = ray.get_runtime_context().get_node_id()
        return Result([Output("scores", pa.table({"caption_id": [item.id]}))], {"node": node})


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    ray.shutdown()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False},
    )
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def _drive(commits: Commits, resources: Resources) -> Iterator[Event]:
    yield from run_items(commits, TASKS, Work, resources, in_flight=2)


def test_actors_join_with_a_node_and_its_loss_costs_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    commits = Commits(Store(str(tmp_path / "run")))
    node = None
    events: list[Event] = []
    lost = False
    for event in _drive(commits, Resources(actors=None, cpus=1, gpus=0)):
        events.append(event)
        nodes = {seen.commit.notes["node"] for seen in events if seen.commit}
        if nodes and node is None:
            node = cluster.add_node(num_cpus=1)
        if len(nodes) == 2 and not lost:
            cluster.remove_node(node, allow_graceful=False)
            lost = True
    assert lost, "no actor of the new node has committed anything"
    assert sorted(commits.done()) == [task.item.id for task in TASKS]
    assert not [event for event in events if event.kind == "quarantine"]
