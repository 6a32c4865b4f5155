"""A real Prometheus scrapes a real scan: dashboard and alerts show what they promise."""

import os
from dataclasses import dataclass
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
from tests.waiting import wait_until
from tests.whole_scans import write_captions

CAPTIONS, SLICE = 24, 4
RUN = "s3://bucket/runs/one"
# Exported only once something fails.
FAILURES = {"ray_memscan_retries_total", "ray_memscan_store_wait_seconds_total"}
pytestmark = [NEEDS_PROMETHEUS, pytest.mark.slow]
Series = list[dict[str, Any]]


@dataclass
class Scraped:
    """``dashboard``: by expression. ``metrics``: by name. ``rules``: as Prometheus evaluated them.
    ``progress``: of the scan at that time."""

    dashboard: dict[str, Series]
    metrics: dict[str, Series]
    rules: list[dict[str, Any]]
    progress: Progress


class _Watch:
    """Holds a scan with half of its slices committed until all of the metrics are there."""

    def __init__(self, server: Prometheus) -> None:
        self.server = server
        self.scraped: Scraped | None = None

    def __call__(self, state: Progress | PlanningProgress) -> None:
        half = CAPTIONS // 2
        if self.scraped or not isinstance(state, Progress) or state.captions_done < half:
            return
        always = [query for query in dashboard_queries() if not FAILURES & names_in(query)]
        wait_until(
            lambda: all(map(self.server.query, always)) and self._all_rules_are_evaluated(),
            "not every panel has data",
        )
        self.scraped = Scraped(
            {query: self.server.query(query) for query in dashboard_queries()},
            {name: self.server.query(name) for name in exported_names()},
            self._rules(),
            state,
        )

    def _rules(self) -> list[dict[str, Any]]:
        (group,) = self.server.get("rules")["groups"]
        return group["rules"]

    def _all_rules_are_evaluated(self) -> bool:
        return all(rule["health"] != "unknown" for rule in self._rules())


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    folder = tmp_path_factory.mktemp("monitored")
    captions = folder / "captions.csv"
    write_captions(captions, CAPTIONS, CAPTIONS)
    store = bucket_server(folder / "s3")
    with pytest.MonkeyPatch.context() as environ:
        point_to(store.port, environ)
        environ.setenv("RAY_metrics_report_interval_ms", "1000")  # Ray's shortest
        with local_ray():
            (node,) = ray.nodes()
            target = f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
            with prometheus(folder, target) as server:
                watch = _Watch(server)
                scan(
                    ScanConfig(
                        model="testbed",
                        captions=(str(captions),),
                        out=RUN,
                        device="cpu",
                        profile="triage",
                        slice_captions=SLICE,
                        actors=1,
                        address=ray.get_runtime_context().gcs_address,
                    ),
                    watch,
                )
    store.kill()
    assert watch.scraped
    return watch.scraped


def test_every_panel_shows_the_run(scraped: Scraped) -> None:
    for query, series in scraped.dashboard.items():
        failure = bool(FAILURES & names_in(query))
        assert bool(series) != failure, query
        for one in series:
            assert one["metric"].get("run", RUN) == RUN
            assert one["metric"].get("node", os.uname().nodename) == os.uname().nodename


def test_metrics_have_the_tags_of_the_run(scraped: Scraped) -> None:
    node, run = {"node": os.uname().nodename}, {"run": RUN, "profile": "triage", "stage": "score"}
    for name, series in scraped.metrics.items():
        driver = name.startswith(("ray_memscan_actors", "ray_memscan_captions_planned"))
        expected = {**run, **node, "device": "" if driver else "cpu"}
        for one in series:
            if driver or name == "ray_memscan_captions_total":
                found = {key: one["metric"].get(key, "") for key in expected}
                assert found == expected, name


def test_values_are_those_of_the_run(scraped: Scraped) -> None:
    state = scraped.progress

    def value(name: str) -> float:
        return sum(float(one["value"][1]) for one in scraped.metrics[f"ray_memscan_{name}"])

    assert value("captions_planned") == CAPTIONS
    assert CAPTIONS / 2 <= value("captions_done") <= CAPTIONS
    assert state.captions_done <= value("captions_total") <= CAPTIONS
    assert value("slices_total") == value("captions_total") / SLICE
    assert value("slice_seconds_bucket") >= value("slices_total")
    assert value("compute_seconds_total") > 0
    assert value("actors") == value("actors_placed") == 1
    assert 1 <= value("batch_size") <= CAPTIONS
    assert value("device_memory_peak_bytes") > 100e6
    assert value("device_seconds") > 0
    requests = {
        one["metric"]["operation"] for one in scraped.metrics["ray_memscan_store_requests_total"]
    }
    assert {"put_object", "get_object"} <= requests


def test_no_alert_fires_in_a_normal_run(scraped: Scraped) -> None:
    assert [rule["name"] for rule in scraped.rules] == list(alerts())
    for rule in scraped.rules:
        assert rule["health"] == "ok", rule
        assert not [one for one in rule["alerts"] if one["state"] == "firing"]
