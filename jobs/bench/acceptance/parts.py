"""The parts of an acceptance run in order, with the time limit of each in seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.bench.acceptance import agreement, forwards, fusion, peaks, sampling, scoring, sharing
from jobs.bench.acceptance.part import Options


@dataclass(frozen=True)
class Part:
    measure: Callable[[Options], dict[str, Any]]
    budget: float


PARTS = {
    "device": Part(peaks.peaks, 30),
    "parity": Part(agreement.parity, 60),
    "precision": Part(agreement.precision, 30),
    "memory": Part(agreement.out_of_memory, 20),
    "throughput": Part(scoring.throughput, 60),
    "overhead": Part(forwards.overhead, 30),
    "fused": Part(fusion.fused, 40),
    "kernels": Part(scoring.kernels, 20),
    "mitigation": Part(sampling.mitigation, 30),
    "sizes": Part(scoring.sizes, 40),
    "compiled_triage": Part(scoring.compiled("triage"), 60),
    "compiled_standard": Part(scoring.compiled("standard"), 120),
    "sharing": Part(sharing.sharing, 60),
    "compiled_forward": Part(forwards.compiled, 90),
}
