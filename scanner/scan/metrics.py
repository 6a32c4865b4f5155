"""Metrics of scoring, beside those of any work on the pool."""

import os

from scanner.cluster.metrics import Metric, Metrics, run_tag
from scanner.run.progress import Progress
from scanner.scoring.spec import ScoringSpec

SCORE = "score"  # the stage
CAPTIONS = Metric(
    "memscan_captions", "Captions in committed slices, by the actor that scored them", "counter"
)
BATCH_SIZE = Metric("memscan_batch_size", "Captions per forward")
PEAK_MEMORY = Metric(
    "memscan_device_memory_peak_bytes",
    "Largest memory of an actor: on a GPU its allocator's, on the CPU its resident size",
)
CAPTIONS_PLANNED = Metric("memscan_captions_planned", "Distinct captions of the run")
CAPTIONS_DONE = Metric(
    "memscan_captions_done", "Captions that are scored, or computed in a running slice"
)
DEVICE_SECONDS = Metric(
    "memscan_device_seconds",
    "Seconds for which actors have held a device, over all commands on the run",
    tags=("kind",),
)


def scoring_tags(spec: ScoringSpec) -> dict[str, str]:
    """Return the tags of scoring: ``profile`` is custom for chosen signals."""
    return {"stage": SCORE, "profile": "custom" if spec.signals else spec.profile}


class ProgressMetrics:
    """Records the progress of scoring in the driver."""

    def __init__(self, run: str, spec: ScoringSpec) -> None:
        tags = {"run": run_tag(run), **scoring_tags(spec)}
        self._metrics = Metrics(tags).at(os.uname().nodename)

    def record(self, state: Progress) -> None:
        """Set the gauges."""
        self._metrics.record(CAPTIONS_PLANNED, state.captions)
        self._metrics.record(CAPTIONS_DONE, state.captions_computed)
        self._metrics.record(DEVICE_SECONDS, state.device_seconds, {"kind": state.device_kind})
