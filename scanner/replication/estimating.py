"""Estimate a replication without fetching anything: scans, GPU-hours, download."""

from dataclasses import dataclass
from typing import Any

from scanner.models import DiffusionModel, load_model
from scanner.models.device.device_memory import weight_bytes
from scanner.models.loading import META
from scanner.models.random.random_stable_diffusion_2 import stable_diffusion_2
from scanner.models.random.random_weights import stable_diffusion_14
from scanner.replication.config import ReplicateConfig
from scanner.replication.measuring import gflop_per_caption
from scanner.replication.planned_scans import plan_scans
from scanner.scan.gpu_estimate import PUBLISHED, gpu_estimate
from scanner.scoring.cost import ForwardCosts
from scanner.testbed import files


@dataclass(frozen=True)
class EstimatedScan:
    """One planned scan, its cost per prompt, and its hours on the card."""

    name: str
    gflop_per_caption: float
    hours_low: float
    hours_high: float


@dataclass(frozen=True)
class Estimate:
    """What a replication takes. ``bytes``: of the weights in float32, 0 if they are here already;
    ``lists``: names of the prompt lists, each under 1 MiB."""

    prompts: int
    gpu: str
    assumption: str
    scans: tuple[EstimatedScan, ...]
    bytes: int
    lists: tuple[str, ...]

    @property
    def hours(self) -> tuple[float, float]:
        return (
            sum(one.hours_low for one in self.scans),
            sum(one.hours_high for one in self.scans),
        )

    def to_json(self) -> dict[str, Any]:
        low, high = self.hours
        return {
            "prompts": self.prompts,
            "gpu": self.gpu,
            "hours_low": low,
            "hours_high": high,
            "assumption": self.assumption,
            "download_bytes": self.bytes,
            "lists": list(self.lists),
            "scans": [vars(one) for one in self.scans],
        }


def estimate(config: ReplicateConfig) -> Estimate:
    """Count the operations of every scan on the architecture's outline; uses no network."""
    kit = config.kit
    outline = _outline(config)
    rows = (
        files.labels(kit.model).num_rows if kit.is_packaged else sum(one.rows for one in kit.lists)
    )
    prompts = min(rows, config.prompts or rows)
    costs: dict[tuple[int, ...], ForwardCosts] = {}
    scans = []
    for planned in plan_scans(config, outline):
        gflop = gflop_per_caption(planned, outline, costs)
        hours = gpu_estimate(config.gpu, prompts, gflop, None, None)
        scans.append(EstimatedScan(planned.name, gflop, hours.hours_low, hours.hours_high))
    return Estimate(
        prompts,
        config.gpu,
        PUBLISHED.partition(";")[0],
        tuple(scans),
        0 if kit.is_packaged else sum(weight_bytes(outline).values()),
        tuple(one.name for one in kit.lists),
    )


def _outline(config: ReplicateConfig) -> DiffusionModel:
    """Return the model on the meta device, from this package alone."""
    if config.kit.is_packaged:
        return load_model(config.kit.model, device=META)
    if config.kit.architecture == "sd2":
        return stable_diffusion_2()
    return stable_diffusion_14("float32", META)
