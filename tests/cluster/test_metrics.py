"""What actors report is really in the metrics that a node of Ray serves."""

import re
import time
import urllib.request
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from scanner.cluster import Resources, Result, Task, Tick
from scanner.cluster.dispatcher import dispatch
from scanner.run import Commits, Output, Slice
from scanner.storage import Store
from tests.cluster.events import refuse_failures
from tests.local_ray import local_ray
from tests.waiting import wait_until

ITEMS, ROWS, SECONDS = 4, 5, 0.1
TASKS = [Task(Slice(f"{number:06d}", "", "", "", ROWS)) for number in range(ITEMS + 1)]


class Work:
    """Takes ``SECONDS`` an item and makes ``ROWS`` rows of it; the last one waits for a file."""

    def __init__(self, waits_for: str) -> None:
        self.waits_for = Path(waits_for)

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        time.sleep(SECONDS)
        if item == TASKS[-1].item:
            wait_until(self.waits_for.exists, "the others are not in the metrics")
        return item

    def finish(self, item: Slice) -> Result:
        return Result([Output("scores", pa.table({"caption_id": [item.id] * ROWS}))])


def test_slices_rows_and_busy_seconds_are_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "200")
    commits = Commits(Store(str(tmp_path / "run")))
    # The last item goes on until the others are seen: an actor's metrics end with its process.
    seen = tmp_path / "seen"
    work = partial(Work, str(seen))
    found: dict[str, float] = {}
    with local_ray():
        for event in dispatch(commits, TASKS, work, Resources(1, 0.5, 0), in_flight=1):
            refuse_failures(event)
            if isinstance(event, Tick) and not seen.exists():
                found = _served()
                # The actor's counters are counted up one by one: the last of them is waited for.
                if found.get("memscan_busy_seconds", 0) >= ITEMS * SECONDS:
                    seen.touch()
    assert found["memscan_slices"] == ITEMS
    assert found["memscan_rows"] == ITEMS * ROWS
    assert ITEMS * SECONDS <= found["memscan_busy_seconds"] < 1000 * ITEMS * SECONDS


def _served() -> dict[str, float]:
    """The sums of our metrics over a node's actors, as its endpoint serves them."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        text = urllib.request.urlopen(url, timeout=5).read().decode()
    except OSError:  # Ray's agent is not up yet
        return {}
    lines = re.findall(r"^ray_(memscan_[a-z_]+?)_total\{[^}]*\} (\S+)$", text, re.MULTILINE)
    sums: dict[str, float] = {}
    for name, value in lines:
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums
