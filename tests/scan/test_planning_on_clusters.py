"""Planning asks a cluster's autoscaler for CPUs while it needs them, and no longer."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray.experimental.internal_kv import _internal_kv_get

from scanner.cluster import request_cpus
from scanner.cluster.connection import autoscaling
from scanner.run.progress import PlanningProgress, Progress
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.sizes import PlanSizes
from scanner.scan.stages import planning_executor
from scanner.storage import Store
from tests.local_ray import local_ray
from tests.scan.test_inputs_and_plan import normalization

FILES = 5


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with local_ray(num_cpus=1):
        yield ray.get_runtime_context().gcs_address


def _requested() -> int:
    """Return the number of CPUs that the autoscaler was last asked for."""
    bundles = json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL) or "[]")
    assert all(bundle == {"CPU": 1} for bundle in bundles)
    return len(bundles)


def _plan(folder: Path, address: str | None, pool_from: int) -> dict[str, set[int]]:
    """Plan FILES files in as many units; return the CPUs requested meanwhile, by stage."""
    for number in range(FILES):
        (folder / f"{number}.txt").write_text("\n".join(f"{number}-{row}" for row in range(20)))
    requested: dict[str, set[int]] = {}

    def watch(state: Progress | PlanningProgress) -> None:
        assert isinstance(state, PlanningProgress)
        if state.done < state.items:
            requested.setdefault(state.stage, set()).add(_requested())

    plan = make_plan(
        choose_inputs(ScanConfig(captions=(str(folder / "*.txt"),))),
        Store(str(folder / "run")),
        normalization,
        lambda _: 1000,
        execute=planning_executor(address, watch, pool_from=pool_from),
        sizes=PlanSizes(unit_segments=1, range_rows=25),
    )
    assert plan.counts["captions"] == FILES * 20
    return requested


@pytest.mark.slow
def test_the_pool_of_a_cluster_requests_a_cpu_per_item(tmp_path: Path, address: str) -> None:
    requested = _plan(tmp_path, address, pool_from=1)
    assert requested["read"] == {0, FILES}, "0 until the pool starts"
    assert FILES in requested["group"]
    assert _requested() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("is_named", "pool_from"), [(False, 1), (True, 1000)])
def test_nothing_is_requested_of_a_local_ray_or_for_few_items(
    tmp_path: Path, address: str, is_named: bool, pool_from: int
) -> None:
    requested = _plan(tmp_path, address if is_named else None, pool_from)
    assert set().union(*requested.values()) == {0}


@pytest.mark.slow
def test_a_request_is_bounded_and_can_be_withdrawn(address: str) -> None:
    assert request_cpus(10**6, address) == ""
    assert _requested() == autoscaling.MOST_CPUS
    assert request_cpus(0, address) == ""
    assert _requested() == 0
