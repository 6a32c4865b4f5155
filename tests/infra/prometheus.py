"""A real Prometheus, and what the monitoring files make it do."""

import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from scanner.cluster import metrics as cluster_metrics
from scanner.cluster.metrics import Metric
from scanner.scan import metrics as scan_metrics
from tests.servers import Server, free_port

MONITORING = Path(__file__).parents[2] / "infra/monitoring"
NEEDS_PROMETHEUS = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Debian's package prometheus is not installed",
)
METRICS = {
    metric.name: metric
    for module in (cluster_metrics, scan_metrics)
    for metric in vars(module).values()
    if isinstance(metric, Metric)
}
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket",)}
# What Grafana puts in for its variables.
VARIABLES = {"$__rate_interval": "30s", "$run": ".*", "$node": ".*"}


def pod_monitor() -> tuple[dict[str, Any], dict[str, Any]]:
    """The PodMonitor and the network policy that belongs to it."""
    monitor, policy = yaml.safe_load_all((MONITORING / "podmonitor.yaml").read_text())
    return monitor, policy


def alert_groups() -> dict[str, Any]:
    """The groups of rules, as Prometheus reads them from a file."""
    return yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]


def alerts() -> dict[str, str]:
    """Expressions of alerts by name."""
    (group,) = alert_groups()["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def dashboard_queries() -> list[str]:
    """All expressions of the dashboard's panels, with values for its variables."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for name, value in VARIABLES.items():
        queries = [query.replace(name, value) for query in queries]
    assert not any("$" in query for query in queries)
    return queries


def exported_names() -> dict[str, Metric]:
    """The metrics by the names that Ray exports and expressions use."""
    return {
        f"ray_{metric.name}{ending}": metric
        for metric in METRICS.values()
        for ending in ENDINGS[metric.kind]
    }


def names_in(query: str) -> set[str]:
    """The metrics that an expression uses."""
    return set(re.findall(r"\bray_\w+", query))


class Prometheus:
    """Scrapes ``target`` each second, as the PodMonitor says, and evaluates the alerts."""

    def __init__(self, folder: Path, target: str) -> None:
        (endpoint,) = pod_monitor()[0]["spec"]["podMetricsEndpoints"]
        rules, config = folder / "rules.yaml", folder / "prometheus.yaml"
        rules.write_text(yaml.safe_dump(alert_groups()))
        relabeling = [
            {"source_labels": one["sourceLabels"], "regex": one["regex"], "action": one["action"]}
            for one in endpoint["metricRelabelings"]
        ]
        job = {
            "job_name": "memscan",
            "static_configs": [{"targets": [target]}],
            "metric_relabel_configs": relabeling,
        }
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        document = {"global": every, "rule_files": [str(rules)], "scrape_configs": [job]}
        config.write_text(yaml.safe_dump(document))
        port, program = free_port(), shutil.which("prometheus")
        assert program
        self._url = f"http://127.0.0.1:{port}/api/v1"
        self.server = Server(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            port,
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now. Fails with Prometheus's words if it is refused."""
        return self.get("query", query=expression)["result"]

    def get(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """A Prometheus that ends with the block."""
    started = Prometheus(folder, target)
    try:
        yield started
    finally:
        started.server.kill()
