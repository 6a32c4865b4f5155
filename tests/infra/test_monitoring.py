"""The monitoring files fit the metrics, the pods, the guide and Prometheus's own checks."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from jobs.development.dashboard import dashboard
from scanner.cluster.metrics import TAGS
from tests.infra.prometheus import (
    METRICS,
    MONITORING,
    NEEDS_PROMETHEUS,
    alert_groups,
    alerts,
    dashboard_queries,
    exported_names,
    names_in,
    pod_monitor,
)
from tests.infra.test_kubernetes import FILES, KUBERNETES

CASES = Path(__file__).parent / "alerts_test.yaml"
GUIDE = MONITORING.parent / "README.md"


def _promtool(folder: Path, *words: str, groups: Any = None) -> subprocess.CompletedProcess[str]:
    (folder / "alerts.rules.yaml").write_text(yaml.safe_dump(groups or alert_groups()))
    (folder / "cases.yaml").write_text(CASES.read_text())
    return subprocess.run(
        ["promtool", *words], cwd=folder, capture_output=True, text=True, check=False
    )


@NEEDS_PROMETHEUS
def test_every_alert_fires_when_it_should(tmp_path: Path) -> None:
    checked = _promtool(tmp_path, "check", "rules", "alerts.rules.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = _promtool(tmp_path, "test", "rules", "cases.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@NEEDS_PROMETHEUS
def test_an_alert_with_another_threshold_fails(tmp_path: Path) -> None:
    text = yaml.safe_dump(alert_groups())
    for before, after in (("> 5", "> 12"), ("for: 20m", "for: 2m"), ("0.5 * (1", "2 * (1")):
        assert before in text
        groups = yaml.safe_load(text.replace(before, after, 1))
        done = _promtool(tmp_path, "test", "rules", "cases.yaml", groups=groups)
        assert "FAILED" in done.stdout + done.stderr, (before, after)


def test_every_alert_has_cases_in_which_it_fires_and_is_quiet() -> None:
    cases = [
        (case["alertname"], bool(case.get("exp_alerts")))
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert set(cases) == {(name, fires) for name in alerts() for fires in (True, False)}


def test_only_exported_metrics_are_used() -> None:
    used = names_in(" ".join([*dashboard_queries(), *alerts().values()]))
    assert used <= exported_names().keys()


def test_every_metric_is_on_the_dashboard() -> None:
    shown = names_in(" ".join(dashboard_queries()))
    # Slices are counted by their histogram too.
    assert exported_names().keys() - shown == {"ray_memscan_items_total"}


def test_the_dashboard_is_that_of_its_panels() -> None:
    written = json.loads((MONITORING / "dashboard.json").read_text())
    assert written == dashboard(), "run python -m jobs.development.dashboard"
    for panel in written["panels"]:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
    places = [panel["gridPos"] for panel in written["panels"]]
    cells = [(x, y) for at in places for x in _span(at, "x", "w") for y in _span(at, "y", "h")]
    assert len(cells) == len(set(cells)), "panels overlap"


def _span(place: dict[str, int], start: str, length: str) -> range:
    return range(place[start], place[start] + place[length])


def test_the_pod_monitor_selects_the_job_s_pods() -> None:
    monitor, _ = pod_monitor()
    (job,) = yaml.safe_load_all((FILES / "rayjob.yaml").read_text())
    assert monitor["metadata"]["namespace"] == job["metadata"]["namespace"]
    assert "namespaceSelector" not in monitor["spec"], "its own namespace, which is the job's"
    # KubeRay puts this label on the head's and all workers' pods.
    assert monitor["spec"]["selector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        # KubeRay's default, at which Ray serves its metrics.
        assert "metrics-export-port" not in group["rayStartParams"]
        (container,) = group["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        # KubeRay adds the port to a container that does not name it.
        assert ports.get(endpoint["port"], 8080) == 8080
    assert endpoint["port"] == "metrics"


def test_only_prometheus_may_scrape_the_pods() -> None:
    monitor, policy = pod_monitor()
    kubernetes_validate.validate(policy, KUBERNETES, strict=True)
    assert policy["metadata"]["namespace"] == monitor["metadata"]["namespace"]
    assert policy["spec"]["podSelector"] == monitor["spec"]["selector"]
    (rule,) = policy["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [8080]
    assert len(rule["from"]) == 1


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_guide_describes_every_metric(name: str) -> None:
    metric = METRICS[name]
    shown = f"`ray_{name}{'_total' if metric.kind == 'counter' else ''}`"
    rows = [line.split("|") for line in GUIDE.read_text().splitlines() if f"| {shown} |" in line]
    ((_, _, kind, tags, meaning, _),) = rows
    assert kind.strip() == metric.kind
    assert re.findall(r"`(\w+)`", tags) == list(metric.tags)
    assert meaning.strip()


def test_the_guide_describes_every_tag_and_alert() -> None:
    text = GUIDE.read_text()
    _, section = text.split("\n## Watching a scan\n")
    section = section.split("\n## ")[0]
    assert all(f"`{tag}`" in section for tag in TAGS)
    assert re.findall(r"^\| `(Memscan\w+)` \|", section, re.M) == list(alerts())
