"""The plan of a purged run: the same generations, files and slices, with fewer rows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scanner.curation.purging.blanking import CAPTIONS
from scanner.curation.purging.parts import Rewritten
from scanner.errors import UserError
from scanner.run import Plan, Slice

NOT_DOWNLOADED = "not downloaded"
# Rewrites a file of a kind; None: it has nothing that is purged.
Rewrite = Callable[[str, str], Rewritten | None]


@dataclass
class PurgedCounts:
    """Numbers of removed rows by table."""

    samples: int = 0
    reference_samples: int = 0
    rejects: int = 0
    not_downloaded: int = 0
    captions: int = 0
    by_source: dict[str, Counter[str]] = field(default_factory=dict)

    def totals(self) -> dict[str, int]:
        """Return the numbers by their names in a plan's counts."""
        return {
            "samples": self.samples,
            "reference_samples": self.reference_samples,
            "rejects": self.rejects,
            "not_downloaded": self.not_downloaded,
            "captions": self.captions,
        }

    def add_samples(self, removed: pa.Table) -> None:
        self.samples += len(removed)
        self.reference_samples += pc.sum(removed["is_reference"]).as_py() or 0
        self._count_sources(removed, "samples")

    def add_rejects(self, removed: pa.Table) -> None:
        self.rejects += len(removed)
        missing = removed.filter(pc.starts_with(removed["reason"], NOT_DOWNLOADED))
        self.not_downloaded += len(missing)
        self._count_sources(removed, "rejects")
        self._count_sources(missing, "not_downloaded")

    def _count_sources(self, removed: pa.Table, name: str) -> None:
        for item in pc.value_counts(removed["source"]).to_pylist():
            counts = self.by_source.setdefault(item["values"], Counter())
            counts[name] += item["counts"]


def purged_plan(plan: Plan, rewrite: Rewrite) -> tuple[Plan, PurgedCounts]:
    """Return one generation of a plan without what is purged, and the numbers of removed rows.

    ``rewrite`` writes the new files. Slices keep their ids, also if no caption of theirs is left,
    so that the commits of the others stay valid. ``purged`` of the counts completes the sum:
    pairs = samples + rejects + purged.
    """
    counts = PurgedCounts()
    samples = _files(plan.samples, "samples", rewrite, counts.add_samples)
    rejects = _files(plan.rejects, "rejects", rewrite, counts.add_rejects)
    found = {name: rewrite(CAPTIONS, name) for name in plan.captions}
    captions = tuple(filter(None, (_new_name(name, found[name]) for name in plan.captions)))
    changed = {name: one for name, one in found.items() if one}
    slices = tuple(_purged_slices(plan.slices, changed))
    counts.captions = sum(sum(one.lost) for one in changed.values())
    if not (counts.samples or counts.rejects or changed):
        return plan, counts
    totals = dict(plan.counts)
    for name, number in counts.totals().items():
        if name in totals:
            totals[name] -= number
    totals["purged"] = totals.get("purged", 0) + counts.samples + counts.rejects
    inputs = tuple(_purged_input(item, counts.by_source) for item in plan.inputs)
    new = replace(
        plan,
        inputs=inputs,
        samples=samples,
        captions=captions,
        rejects=rejects,
        slices=slices,
        counts=totals,
    )
    return new, counts


def _files(
    names: tuple[str, ...], kind: str, rewrite: Rewrite, count: Callable[[pa.Table], None]
) -> tuple[str, ...]:
    found = []
    for name in names:
        one = rewrite(kind, name)
        if one:
            count(one.removed)
        if new := _new_name(name, one):
            found.append(new)
    return tuple(found)


def _new_name(name: str, one: Rewritten | None) -> str:
    """Return the name of a file after it was rewritten; "" if nothing of it is left."""
    if one is None:
        return name
    return one.part.path if one.part else ""


def _purged_slices(slices: tuple[Slice, ...], changed: dict[str, Rewritten]) -> list[Slice]:
    purged: list[Slice] = []
    groups = {name: _new_groups(one) for name, one in changed.items()}
    for item in slices:
        if one := changed.get(item.file):
            item = _purged_slice(item, one, groups[item.file], purged[-1].last if purged else None)
        purged.append(item)
    return purged


def _purged_slice(item: Slice, one: Rewritten, groups: dict[int, int], before: str | None) -> Slice:
    """Return a slice of a file that was rewritten; ``groups``: the file's new row groups;
    ``before``: the last id of the slice before it, None of the first."""
    if item.rows and item.row_group is None:
        raise UserError(
            f"{item.file}: slice {item.id} has no row group, so it cannot be purged; scan again"
        )
    group = item.row_group or 0
    rows = item.rows - one.lost[group] if item.rows else 0
    if not rows:
        # An interval of ids that is empty, after those of the slice before it.
        nothing = "" if before is None else f"{before}~"
        file = one.part.path if one.part else item.file
        return replace(item, file=file, first=nothing, last=nothing, rows=0, row_group=None)
    assert one.part is not None, "a file with rows left"
    first, last = one.kept_ids[group]
    return replace(
        item, file=one.part.path, first=first, last=last, rows=rows, row_group=groups[group]
    )


def _new_groups(one: Rewritten) -> dict[int, int]:
    """Return the new number of each row group that has rows left."""
    left = [group for group, (_, last) in enumerate(one.kept_ids) if last]
    return {group: number for number, group in enumerate(left)}


def _purged_input(item: dict[str, Any], by_source: dict[str, Counter[str]]) -> dict[str, Any]:
    removed = by_source.get(item.get("url", ""))
    if not removed:
        return item
    new = dict(item)
    for name in ("samples", "rejects", "not_downloaded"):
        if name in new:
            new[name] -= removed[name]
    new["purged"] = new.get("purged", 0) + removed["samples"] + removed["rejects"]
    return new
