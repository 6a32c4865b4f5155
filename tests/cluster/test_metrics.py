"""What actors and the driver record is really in the metrics that a node of Ray serves."""

import os
import re
import time
import urllib.request
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import ray

from scanner.cluster import Execution, Resources, Result, RetryLimits, Tick, execute, executor
from scanner.cluster.metrics import (
    ITEMS_COMMITTED,
    LONGEST_TAG,
    Metric,
    Metrics,
    clean_tag,
    run_tag,
)
from scanner.run import Commit, Commits, Output, Slice
from scanner.storage import Store
from tests.local_ray import local_ray
from tests.waiting import wait_until

REPORT_MS = 2000
AWAITED = (
    *("actors", "actors_placed", "items_quarantined", "devices_out_of_service"),
    *("retries_total", "item_seconds_count", "compute_seconds_total", "of_test"),
)
OF_WORK = Metric("memscan_of_test", "A gauge that the work sets after a commit")
GOOD, SECONDS = 4, 0.1
# In this order: what fails is tried again before the last item, which occupies the only actor.
FLAKY, BAD, *_, LAST = ITEMS = [Slice(f"{number:06d}", "", "", "", 5) for number in range(GOOD + 3)]
# An actor that fails twice in a row would end, with its last counts. One item at a time, or the
# last one would be queued before the others are tried again.
LIMITS = RetryLimits(attempts=2, delays=(0.01,), consecutive_failures=10, queue_seconds=0)


class Work:
    """Takes ``SECONDS`` per item. One item fails at first and one always; the last one waits for a
    file, since an actor's gauges, and its last counts, end with its process."""

    def __init__(self, waits_for: Path) -> None:
        self.waits_for, self.tries = waits_for, 0

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        time.sleep(SECONDS)
        self.tries += item == FLAKY
        if item == BAD or (item == FLAKY and self.tries == 1):
            raise MemoryError("too much")
        if item == LAST:
            wait_until(self.waits_for.exists, "not all is served")
        return item

    def finish(self, item: Slice) -> Result:
        return Result([Output("scores", pa.table({"caption_id": [item.id]}))])

    def measure(self, metrics: Metrics, commit: Commit) -> None:
        metrics.record(OF_WORK, 7.0)


@pytest.fixture
def fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "random", SimpleNamespace(randrange=lambda _: 0))


@pytest.mark.usefixtures("fixed_order")
def test_what_happens_is_exported_with_its_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", str(REPORT_MS))
    store, seen = Store(str(tmp_path / "run")), tmp_path / "seen"
    served: dict[str, dict[tuple[str, ...], float]] = {}
    done_at = 0.0

    def look(event: Any) -> None:
        nonlocal served, done_at
        if not isinstance(event, Tick) or seen.exists():
            return
        served = _served()
        left, items = served["items_left"].values(), served["items_total"].values()
        if sum(items) < GOOD + 1 or [*left] != [1] or not all(served[one] for one in AWAITED):
            return
        # Until a gauge that was set once would be gone.
        done_at = done_at or time.monotonic()
        if time.monotonic() - done_at > 3 * REPORT_MS / 1000:
            seen.touch()

    tags = {"stage": "test", "profile": "p"}
    with local_ray():
        execute(
            Commits(store),
            ITEMS,
            partial(Work, seen),
            Resources(1, 0.5, 0),
            execution=Execution(in_flight=1, limits=LIMITS, tags=tags),
            on_event=look,
        )
    node = (store.url, "p", "test", os.uname().nodename)
    actor, driver = (*node, "cpu"), (*node, "")
    assert served["items_total"] == {(*actor, ""): GOOD + 1}
    assert served["item_seconds_count"] == {(*actor, ""): GOOD + 1}
    ((key, seconds),) = served["compute_seconds_total"].items()
    assert key == (*actor, "")
    assert GOOD * SECONDS <= seconds < 1000 * GOOD * SECONDS
    assert served["of_test"] == {(*actor, ""): 7}
    assert served["retries_total"] == {(*actor, "out_of_memory"): 2}
    assert served["items_quarantined"] == {(*driver, ""): 1}
    assert served["items_left"] == {(*driver, ""): 1}
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
    Metrics({"run": "a run"}).record(ITEMS_COMMITTED)


def test_the_tag_of_a_run_has_no_secrets() -> None:
    assert run_tag("s3://bucket/runs/one") == "s3://bucket/runs/one"
    azure = "abfs://data@account.dfs.core.windows.net/runs/one"
    assert run_tag(azure) == azure
    assert run_tag("/data/run?1#2") == "/data/run?1#2", "a local path has no parameters"
    assert run_tag("run") == f"{Path.cwd()}/run"
    assert run_tag("~/run") == f"{Path.home()}/run"
    assert run_tag("file:///data/run") == "/data/run"
    signed = "https://me:password@host:8080/run?X-Amz-Signature=abc#token"
    assert run_tag(signed) == "https://host:8080/run"
    assert "hunter2" not in run_tag("https://host/a;password=hunter2/b")


def test_tags_are_short_printable_text() -> None:
    assert clean_tag("s3://bucket/café") == "s3://bucket/café"
    assert clean_tag("a\nb\x1b[31m\udcff") == "a?b?[31m?"
    long = clean_tag("x" * 10_000 + "/the-end")
    assert len(long) == LONGEST_TAG
    assert long.endswith("x/the-end")
