"""Write the Grafana dashboard of a scan, from the panels below.

Example: python -m jobs.development.dashboard
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.console.terminal import command

OUT = Path(__file__).parents[2] / "infra/monitoring/dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, STAT_WIDTH, GRAPH_WIDTH, STAT_HEIGHT, GRAPH_HEIGHT = 24, 6, 12, 4, 8
DRIVER = 'run=~"$run"'
ACTOR = 'run=~"$run",node=~"$node"'


@dataclass(frozen=True)
class DashboardConfig:
    """The file to write."""

    out: Path = OUT
    """JSON file to write."""


@dataclass(frozen=True)
class Panel:
    """``queries``: expressions and the legends of their series; ``unit``: Grafana's id.
    ``is_stat``: shows the last value instead of a graph."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    is_stat: bool = False


def _last(metric: str, by: str, of: str = DRIVER) -> str:
    return f"max by ({by}) (ray_memscan_{metric}{{{of}}})"


def _rate(metric: str, by: str, of: str = ACTOR, over: str = "$__rate_interval") -> str:
    return f"sum by ({by}) (rate(ray_memscan_{metric}{{{of}}}[{over}]))"


def _seconds(quantile: float) -> str:
    return f"histogram_quantile({quantile}, {_rate('item_seconds_bucket', 'le, stage')})"


_PLANNED, _DONE = _last("captions_planned", "run"), _last("captions_done", "run")
_SPEED = _rate("captions_total", "run", DRIVER, "15m")
PANELS = (
    Panel(
        "Progress",
        "Captions scored, of the distinct captions of the run.",
        "percentunit",
        ((f"{_DONE} / {_PLANNED}", "{{run}}"),),
        is_stat=True,
    ),
    Panel(
        "Time left",
        "At the speed of the last 15 minutes; scoring only.",
        "s",
        ((f"({_PLANNED} - {_DONE}) / {_SPEED}", "{{run}}"),),
        is_stat=True,
    ),
    Panel(
        "Hours of devices",
        "GPU-hours (on the CPU, actor-hours) that all commands on the run have held, loading the "
        "model included.",
        "h",
        ((f"{_last('device_seconds', 'run, kind')} / 3600", "{{run}} {{kind}}"),),
        is_stat=True,
    ),
    Panel(
        "Quarantined items, devices out of service",
        "Items given up by this command, and devices and nodes that it does not use any more; "
        "memscan status RUN names them and the reasons.",
        "none",
        (
            (f"sum by (run) (ray_memscan_items_quarantined{{{DRIVER}}})", "{{run}}: quarantined"),
            (
                f"sum by (run) (ray_memscan_devices_out_of_service{{{DRIVER}}})",
                "{{run}}: out of service",
            ),
        ),
        is_stat=True,
    ),
    Panel(
        "Captions per second",
        "Captions in committed slices, by node.",
        "none",
        ((_rate("captions_total", "node"), "{{node}}"),),
    ),
    Panel(
        "Actors",
        "Ready for work, and holding a device (ready or loading the model), by stage.",
        "none",
        (
            (_last("actors", "run, stage"), "{{stage}}: ready"),
            (_last("actors_placed", "run, stage"), "{{stage}}: placed"),
        ),
    ),
    Panel(
        "Seconds per item",
        "Time that the device computed for an item: median and 95th percentile, as exact as the "
        "histogram's buckets.",
        "s",
        ((_seconds(0.5), "{{stage}}: median"), (_seconds(0.95), "{{stage}}: 95 %")),
    ),
    Panel(
        "Devices busy",
        "Share of the time that an actor's device computes. The rest is waiting for captions, for "
        "the store or for the driver. Actors that share a GPU add up.",
        "percentunit",
        ((_rate("compute_seconds_total", "node, device"), "{{node}} {{device}}"),),
    ),
    Panel(
        "Batch size",
        "Captions per forward: tuned by each actor, halved when its device runs out of memory.",
        "none",
        ((_last("batch_size", "node, device", ACTOR), "{{node}} {{device}}"),),
    ),
    Panel(
        "Peak memory per actor",
        "Largest memory so far: on a GPU that of PyTorch's allocator, on the CPU the process's.",
        "bytes",
        ((_last("device_memory_peak_bytes", "node, device", ACTOR), "{{node}} {{device}}"),),
    ),
    Panel(
        "Retries",
        "Items, starts of actors and batches (out_of_memory) tried again, by cause.",
        "none",
        (
            (
                f"sum by (cause) (increase(ray_memscan_retries_total{{{DRIVER}}}"
                "[$__rate_interval]))",
                "{{cause}}",
            ),
        ),
    ),
    Panel(
        "Items left",
        "Neither committed nor quarantined, by stage: planning (read, apart, merge, image_read, "
        "image_merge, image_group, repeat_merge, group), score, "
        "finishing (compact, check, remove).",
        "none",
        ((_last("items_left", "run, stage"), "{{run}}: {{stage}}"),),
    ),
    Panel(
        "Requests to the store",
        "Requests per second to S3, by operation; to other clouds' stores, by HTTP method.",
        "reqps",
        ((_rate("store_requests_total", "operation"), "{{operation}}"),),
    ),
    Panel(
        "Waiting for the store",
        "Seconds per second waited for a store or hub that does not answer or throttles, all "
        "requests of a node together.",
        "none",
        ((_rate("store_wait_seconds_total", "node"), "{{node}}"),),
    ),
)


def dashboard() -> dict[str, Any]:
    """Return Grafana's model of the dashboard."""
    return {
        "uid": "memscan",
        "title": "Memorization scan",
        "tags": ["memscan"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), *map(_variable, ("run", "node"))]},
        "panels": _panels(),
    }


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }


def _variable(label: str) -> dict[str, Any]:
    metric = (
        "ray_memscan_items_left" if label == "run" else 'ray_memscan_captions_total{run=~"$run"}'
    )
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": label},
        "refresh": 2,  # also when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }


def _panels() -> list[dict[str, Any]]:
    """Return the panels, laid out in rows from left to right."""
    panels, left, top = list[dict[str, Any]](), 0, 0
    for number, panel in enumerate(PANELS, 1):
        width, height = (STAT_WIDTH, STAT_HEIGHT) if panel.is_stat else (GRAPH_WIDTH, GRAPH_HEIGHT)
        panels.append(_panel(number, panel, {"x": left, "y": top, "w": width, "h": height}))
        left += width
        if left == COLUMNS:
            left, top = 0, top + height
    return panels


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "stat" if panel.is_stat else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": text,
                "legendFormat": legend,
            }
            for place, (text, legend) in enumerate(panel.queries)
        ],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return command(DashboardConfig, "jobs.development.dashboard", __doc__, _write, arguments)


def _write(config: DashboardConfig) -> int:
    config.out.write_text(f"{json.dumps(dashboard(), indent=1)}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
