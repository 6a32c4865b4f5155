"""What ``memscan status`` reads of a plan, whose slices may number millions."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import accumulate, groupby
from typing import Annotated, Any

import numpy as np

from scanner.run.json_files import Count, Counts, Id, PlanCounts, SkippedRecord, checked_as
from scanner.run.records import Plan, encode
from scanner.storage import Skipped

# Longest number that a slice's id is read as.
DIGITS = 18


@dataclass(frozen=True)
class PlanSummary:
    """The counts of one generation of a plan.

    ``slices``: their number. ``first``: the number of the first slice, if the ids are consecutive
    numbers; else ``ids`` lists them. ``rows``: captions per slice in this order, as pairs (number
    of slices, captions of each). ``reasons``: the plan's rejects by reason.
    """

    slices: Count
    first: Count
    ids: tuple[Id, ...]
    rows: tuple[tuple[Count, Count], ...]
    counts: Annotated[dict[str, int], checked_as(PlanCounts)]
    skipped: Annotated[dict[str, Any], checked_as(dict[str, SkippedRecord])]
    reasons: Annotated[dict[str, int], checked_as(Counts)]

    @classmethod
    def of(cls, plan: Plan, reasons: dict[str, int]) -> "PlanSummary":
        """Summarize a plan; ``reasons``: its rejects by reason."""
        ids = [item.id for item in plan.slices]
        first = int(ids[0]) if ids and ids[0].isdecimal() else 0
        if all(name == f"{number:06d}" for number, name in enumerate(ids, first)):
            ids = []
        equal = groupby(item.rows for item in plan.slices)
        rows = tuple((sum(1 for _ in group), captions) for captions, group in equal)
        slices = len(plan.slices)
        return cls(slices, first, tuple(ids), rows, plan.counts, plan.skipped, reasons)

    def to_json(self) -> bytes:
        return encode(asdict(self))

    def committed(self, names: Iterable[str]) -> tuple[int, int]:
        """Return how many of the slices of these ids are planned here, and their captions."""
        if self.ids:
            position = {name: number for number, name in enumerate(self.ids)}
            found = [position[name] for name in names if name in position]
        else:
            decimals = (name for name in names if name.isdecimal() and len(name) <= DIGITS)
            found = [int(name) - self.first for name in decimals]
        numbers = np.array(found, np.int64)
        numbers = numbers[(numbers >= 0) & (numbers < self.slices)]
        ends = np.array(list(accumulate(times for times, _ in self.rows)), np.int64)
        captions = np.array([captions for _, captions in self.rows], np.int64)
        runs = np.searchsorted(ends, numbers, side="right")
        return len(numbers), int(captions[runs[runs < len(captions)]].sum())


def joined_skipped(plans: Iterable[PlanSummary]) -> dict[str, Any]:
    """Return the files that the generations of a plan skipped, by reason."""
    skipped = Skipped()
    for plan in plans:
        skipped.update(Skipped.of(plan.skipped))
    return skipped.to_json()
