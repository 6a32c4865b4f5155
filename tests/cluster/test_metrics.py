"""What actors and the driver record is really in the metrics that a node of Ray serves."""

import os
import re
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from scanner.cluster import (
    Committed,
    Execution,
    Quarantined,
    Resources,
    Result,
    RetryLimits,
    Tick,
    execute,
)
from scanner.cluster.metrics import LONGEST_TAG, SLICES, Metrics, clean_tag, run_tag
from scanner.run import Commits, Output, Slice
from scanner.storage import Store
from tests.local_ray import local_ray
from tests.waiting import wait_until

ITEMS, SECONDS = 4, 0.1
*GOOD, BAD = [Slice(f"{number:06d}", "", "", "", 5) for number in range(ITEMS + 1)]
# An actor that fails twice in a row would end, with its last counts.
LIMITS = RetryLimits(attempts=2, delays=(0.01,), consecutive_failures=10)


class Work:
    """Takes ``SECONDS`` per item; one item always fails."""

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        time.sleep(SECONDS)
        if item == BAD:
            raise MemoryError("too much")
        return item

    def finish(self, item: Slice) -> Result:
        return Result([Output("scores", pa.table({"caption_id": [item.id]}))])


class Watch:
    """Holds an execution whose items are done until all is served."""

    def __init__(self) -> None:
        self.done = 0
        self.served: dict[str, dict[tuple[str, ...], float]] = {}

    def __call__(self, event: Any) -> None:
        self.done += isinstance(event, Committed | Quarantined)
        if isinstance(event, Tick) and self.done == ITEMS + 1 and not self.served:
            wait_until(self._all_is_served, "the metrics of all items")
            self.served = _served()

    def _all_is_served(self) -> bool:
        served = _served()
        slices, left = served["slices_total"].values(), served["slices_left"].values()
        return sum(slices) == ITEMS and [*left] == [0] and bool(served["retries_total"])


def test_what_happens_is_exported_with_its_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "1000")  # Ray's shortest
    store, watch = Store(str(tmp_path / "run")), Watch()
    tags = {"stage": "test", "profile": "p"}
    with local_ray():
        execute(
            Commits(store),
            [*GOOD, BAD],
            Work,
            Resources(1, 0.5, 0),
            execution=Execution(in_flight=1, limits=LIMITS, tags=tags),
            on_event=watch,
        )
    served = watch.served
    node = (store.url, "p", "test", os.uname().nodename)
    actor, driver = (*node, "cpu"), (*node, "")
    assert served["slices_total"] == {(*actor, ""): ITEMS}
    assert served["slice_seconds_count"] == {(*actor, ""): ITEMS}
    ((key, seconds),) = served["compute_seconds_total"].items()
    assert key == (*actor, "")
    assert ITEMS * SECONDS <= seconds < 1000 * ITEMS * SECONDS
    assert served["retries_total"] == {(*actor, "out_of_memory"): LIMITS.attempts - 1}
    assert served["slices_quarantined"] == {(*driver, ""): 1}
    assert served["slices_left"] == {(*driver, ""): 0}
    assert served["actors"] == served["actors_placed"] == {(*driver, ""): 1}
    assert served["devices_out_of_service"] == {(*driver, ""): 0}


def _served() -> dict[str, dict[tuple[str, ...], float]]:
    """The sums of our metrics, by name and then by tags, as the node's endpoint serves them."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    sums: dict[str, dict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
    try:
        text = urllib.request.urlopen(url, timeout=5).read().decode()
    except OSError:  # Ray's agent is not up yet
        return sums
    lines = re.findall(r"^ray_memscan_(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE)
    for name, labels, value in lines:
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        key = tuple(
            found.get(one, "") for one in ("run", "profile", "stage", "node", "device", "cause")
        )
        sums[name][key] += float(value)
    return sums


def test_without_ray_nothing_is_recorded() -> None:
    ray.shutdown()
    Metrics({"run": "a run"}).record(SLICES)


def test_the_tag_of_a_run_has_no_secrets() -> None:
    assert run_tag("s3://bucket/runs/one") == "s3://bucket/runs/one"
    assert run_tag("/data/run?1#2") == "/data/run?1#2", "a local path has no parameters"
    signed = "https://me:password@host:8080/run?X-Amz-Signature=abc#token"
    assert run_tag(signed) == "https://host:8080/run"
    assert "hunter2" not in run_tag("https://host/a;password=hunter2/b")


def test_tags_are_short_printable_text() -> None:
    assert clean_tag("s3://bucket/café") == "s3://bucket/café"
    assert clean_tag("a\nb\x1b[31m\udcff") == "a?b?[31m?"
    long = clean_tag("x" * 10_000 + "/the-end")
    assert len(long) == LONGEST_TAG
    assert long.endswith("x/the-end")
