"""Record metrics, which Ray serves to Prometheus on each node.

Ray puts ``ray_`` before the names, and ``_total`` after those of counters. A node keeps the
counters of processes that have ended, and drops a gauge that was not set for twice its report
interval, which is 20 seconds by default.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scanner.cluster.connection.address import is_connected
from scanner.credentials import without_secrets
from scanner.storage import full_url, split_url
from scanner.storage.counts import take_counts

TAGS = ("run", "profile", "stage", "node", "device")
LONGEST_TAG = 200


@dataclass(frozen=True)
class Metric:
    """``tags``: keys beside TAGS. ``bounds``: upper bounds of a histogram's buckets."""

    name: str
    description: str
    kind: Literal["counter", "gauge", "histogram"] = "gauge"
    tags: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


ITEMS_COMMITTED = Metric(
    "memscan_items", "Items committed, by the actor that computed them", "counter"
)
ITEM_SECONDS = Metric(
    "memscan_item_seconds",
    "Seconds that the device computed for an item",
    "histogram",
    bounds=(0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800),
)
COMPUTE_SECONDS = Metric(
    "memscan_compute_seconds", "Seconds that an actor's device computed", "counter"
)
RETRIES = Metric(
    "memscan_retries", "Items, starts of actors and batches tried again", "counter", ("cause",)
)
STORE_REQUESTS = Metric("memscan_store_requests", "Requests to stores", "counter", ("operation",))
STORE_WAIT_SECONDS = Metric(
    "memscan_store_wait_seconds", "Seconds waited for a store or hub that did not answer", "counter"
)
ACTORS = Metric("memscan_actors", "Actors that are ready for work")
ACTORS_PLACED = Metric("memscan_actors_placed", "Actors that hold CPUs and GPUs, ready or not")
ITEMS_LEFT = Metric("memscan_items_left", "Items that are neither committed nor quarantined")
ITEMS_QUARANTINED = Metric("memscan_items_quarantined", "Items given up by this command")
OUT_OF_SERVICE = Metric(
    "memscan_devices_out_of_service", "Devices and nodes that are not used any more"
)


class Metrics:
    """Records metrics of this process with its tags; does nothing unless Ray runs.

    ``tags``: by keys of TAGS; missing ones are empty. Tags of a call take precedence.
    """

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = {key: tags.get(key, "") for key in TAGS}
        self._exported: dict[Metric, Any] = {}
        self._gauges: dict[tuple[Metric, frozenset[tuple[str, str]]], float] = {}

    def at(self, node: str, device: str = "") -> "Metrics":
        """Return metrics with the same tags, of a device on a node."""
        return Metrics({**self._tags, "node": node, "device": device})

    def record(
        self, metric: Metric, value: float = 1.0, tags: Mapping[str, str] | None = None
    ) -> None:
        """Add to a counter, set a gauge, or observe a value of a histogram."""
        if not is_connected() or (metric.kind == "counter" and value <= 0):
            return
        exported = self._exported.get(metric)
        if exported is None:
            exported = self._exported[metric] = _export(metric)
        if metric.kind == "gauge":
            self._gauges[metric, frozenset((tags or {}).items())] = value
        cleaned = {key: clean_tag(text) for key, text in {**self._tags, **(tags or {})}.items()}
        record = {"counter": "inc", "gauge": "set", "histogram": "observe"}[metric.kind]
        getattr(exported, record)(float(value), tags=cleaned)

    def repeat_gauges(self) -> None:
        """Set all gauges to their last values again, so that Ray keeps exporting them."""
        for (metric, tags), value in list(self._gauges.items()):
            self.record(metric, value, dict(tags))

    def record_store(self) -> None:
        """Add what this process has requested of stores, and waited for them, since the last
        call."""
        counts = take_counts() if is_connected() else None
        if counts is None:
            return
        for operation, requests in counts.requests.items():
            self.record(STORE_REQUESTS, requests, {"operation": operation})
        self.record(STORE_WAIT_SECONDS, counts.wait_seconds)


def _export(metric: Metric) -> Any:
    from ray.util import metrics

    keys = (*TAGS, *metric.tags)
    if metric.kind == "histogram":
        return metrics.Histogram(metric.name, metric.description, list(metric.bounds), keys)
    kind = metrics.Counter if metric.kind == "counter" else metrics.Gauge
    return kind(metric.name, metric.description, keys)


def run_tag(url: str) -> str:
    """Return a run's location for the tag ``run``: a local path as an absolute one, a URL without
    user, password, query and fragment."""
    scheme, is_url, rest = url.partition("://")
    if not is_url or scheme == "file":
        return split_url(full_url(url))[1]
    host, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    before, at, host = host.rpartition("@")
    # Azure's containers stand where other URLs have a user.
    container = before.partition(":")[0] + at if scheme in ("az", "abfs", "abfss") else ""
    return without_secrets(f"{scheme}://{container}{host}{slash}{path}")


def clean_tag(text: str) -> str:
    """Return a tag's value without control characters and invalid Unicode, bounded: its end."""
    valid = text.encode(errors="replace").decode()
    printable = "".join(one if one.isprintable() else "?" for one in valid)
    return printable if len(printable) <= LONGEST_TAG else f"…{printable[1 - LONGEST_TAG :]}"
