"""The parts of an acceptance run in order, with the time limit of each in seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.bench.acceptance import agreement, forwards, fusion, peaks, sampling, scoring, sharing
from jobs.bench.acceptance.part import Options


@dataclass(frozen=True)
class AcceptancePart:
    """What a part measures, and its time in seconds."""

    measure: Callable[[Options], dict[str, Any]]
    budget: float


PARTS = {
    "device": AcceptancePart(peaks.peaks, 30),
    "parity": AcceptancePart(agreement.parity, 60),
    "precision": AcceptancePart(agreement.precision, 30),
    "memory": AcceptancePart(agreement.out_of_memory, 20),
    "throughput": AcceptancePart(scoring.throughput, 60),
    "overhead": AcceptancePart(forwards.overhead, 30),
    "fused": AcceptancePart(fusion.fused, 40),
    "kernels": AcceptancePart(scoring.kernels, 20),
    "mitigation": AcceptancePart(sampling.mitigation, 30),
    "sizes": AcceptancePart(scoring.sizes, 40),
    "compiled_triage": AcceptancePart(scoring.compiled("triage"), 60),
    "compiled_standard": AcceptancePart(scoring.compiled("standard"), 120),
    "sharing": AcceptancePart(sharing.sharing, 60),
    "compiled_forward": AcceptancePart(forwards.compiled, 90),
}
