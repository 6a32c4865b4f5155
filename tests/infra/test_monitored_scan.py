"""A real Prometheus scrapes a real scan: dashboard and alerts show what they promise."""

import os
import time
from typing import Any

import pytest
import ray

from scanner.run.progress import PlanningProgress, Progress
from scanner.scan.config import ScanConfig
from scanner.scan.scan import scan
from tests.infra.prometheus import (
    NEEDS_PROMETHEUS,
    Prometheus,
    alerts,
    dashboard_queries,
    exported_names,
    names_in,
    prometheus,
)
from tests.local_ray import local_ray
from tests.servers import bucket_server, point_to
from tests.waiting import SECONDS
from tests.whole_scans import write_captions

# Far more captions than are scored before all metrics are there, which ends the scan.
CAPTIONS, SLICE = 20_000, 4
REPORT_MS = 2000
RUN = "s3://bucket/runs/one"
# Exported only once something fails.
FAILURES = {"ray_memscan_retries_total", "ray_memscan_store_wait_seconds_total"}
pytestmark = [NEEDS_PROMETHEUS, pytest.mark.slow]
Series = list[dict[str, Any]]


class AllSeen(Exception):
    """Ends a scan whose metrics have been seen."""


class Watch:
    """Asks Prometheus each second of a scan, until all is there; then raises AllSeen.

    ``series``: by expression, of the panels and of the metrics by name. ``rules``: as Prometheus
    evaluated them.
    """

    def __init__(self, server: Prometheus) -> None:
        self.server = server
        self.series: dict[str, Series] = {}
        self.rules: list[dict[str, Any]] = []
        self._queries = {*dashboard_queries(), *exported_names()}
        self._deadline = self._asked_at = 0.0

    def __call__(self, state: Progress | PlanningProgress) -> None:
        now = time.monotonic()
        if not isinstance(state, Progress) or now - self._asked_at < 1:
            return
        self._asked_at, self._deadline = now, self._deadline or now + 2 * SECONDS
        # This process exports every 10 s, and Ray drops its gauges in between: what was seen once
        # counts, but nothing before the first commit.
        begun = self.server.query(f'ray_memscan_items_left{{stage="score"}} < {CAPTIONS // SLICE}')
        for query in self._queries if begun else ():
            if series := self.server.query(query):
                self.series[query] = series
        self.rules = self.server.get("rules")["groups"][0]["rules"]
        missing = {
            query for query in self._queries - self.series.keys() if not FAILURES & names_in(query)
        }
        if not missing and all(rule["health"] != "unknown" for rule in self.rules):
            raise AllSeen
        assert now < self._deadline, f"without data: {missing}"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    folder = tmp_path_factory.mktemp("monitored")
    captions = folder / "captions.csv"
    write_captions(captions, CAPTIONS, CAPTIONS)
    store = bucket_server(folder / "s3")
    with pytest.MonkeyPatch.context() as environ:
        point_to(store.port, environ)
        environ.setenv("RAY_metrics_report_interval_ms", str(REPORT_MS))
        with local_ray():
            (node,) = ray.nodes()
            config = ScanConfig(
                model="testbed",
                captions=(str(captions),),
                out=RUN,
                device="cpu",
                profile="triage",
                slice_captions=SLICE,
                actors=1,
                address=ray.get_runtime_context().gcs_address,
            )
            target = f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
            with prometheus(folder, target) as server:
                watch = Watch(server)
                with pytest.raises(AllSeen):
                    scan(config, watch)
    store.kill()
    return watch


def test_every_panel_shows_the_run(seen: Watch) -> None:
    for query in dashboard_queries():
        series = seen.series.get(query, [])
        assert bool(series) != bool(FAILURES & names_in(query)), query
        for one in series:
            assert one["metric"].get("run", RUN) == RUN
            assert one["metric"].get("node", os.uname().nodename) == os.uname().nodename


def test_metrics_have_the_tags_of_the_run(seen: Watch) -> None:
    tags = {"run": RUN, "profile": "triage", "stage": "score", "node": os.uname().nodename}
    for name, device in (("captions_total", "cpu"), ("batch_size", "cpu"), ("captions_done", "")):
        for one in seen.series[f"ray_memscan_{name}"]:
            found = {key: one["metric"].get(key, "") for key in (*tags, "device")}
            assert found == {**tags, "device": device}, name


def test_values_are_those_of_the_run(seen: Watch) -> None:
    def value(name: str) -> float:
        return sum(float(one["value"][1]) for one in seen.series[f"ray_memscan_{name}"])

    assert value("captions_planned") == CAPTIONS
    assert 0 <= value("captions_done") < CAPTIONS
    assert value("captions_total") >= SLICE
    assert value("captions_total") % SLICE == 0
    assert value("items_left") < CAPTIONS / SLICE
    assert value("compute_seconds_total") > 0
    assert value("actors") == value("actors_placed") == 1
    assert 1 <= value("batch_size") <= SLICE * 4
    assert value("device_memory_peak_bytes") > 100e6
    assert value("device_seconds") > 0
    assert value("items_quarantined") == value("devices_out_of_service") == 0
    requests = seen.series["ray_memscan_store_requests_total"]
    assert {"put_object", "get_object"} <= {one["metric"]["operation"] for one in requests}


def test_no_alert_fires_in_a_normal_run(seen: Watch) -> None:
    assert [rule["name"] for rule in seen.rules] == list(alerts())
    for rule in seen.rules:
        assert rule["health"] == "ok", rule
        assert not [one for one in rule["alerts"] if one["state"] == "firing"]
