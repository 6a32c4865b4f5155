"""Merge staged parts, so that each range of caption ids is read from few of them.

At first every part holds ids from all over. A level of merging takes ``fan_in`` parts at a time and
writes one part per interval of ids, each about as large as two ranges; the parts of an interval are
then merged by themselves, until they are few. A level reads every row once, and an item of a level
reads one byte range per part. The number of levels is the logarithm of the number of parts:
planning n rows takes n log n requests instead of n².
"""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pyarrow as pa

from scanner.run import Commit, Commits, Output
from scanner.run.records import DamagedFile, Part, commit_name
from scanner.scan.plan.cuts import IDS, IdRange, StagedPart, id_of, read_cuts, stage
from scanner.scan.plan.running import Execute, run_all
from scanner.scan.plan.sizes import PlanSizes
from scanner.scan.plan.staged_rows import StagedRows, StagingWork
from scanner.storage import Store

# Beyond any amount of data: 16 parts each would be 16 million parts.
MOST_LEVELS = 6
# A merged part may be larger than a range by this factor: each item makes a few requests, whatever
# it reads, and ``merge_bytes`` bounds its memory.
SLACK = 2.0


class StagedParts:
    """Staged parts by the interval of ids that they hold; the intervals are disjoint."""

    def __init__(self, parts: Iterable[StagedPart]) -> None:
        buckets: dict[tuple[int, int], list[StagedPart]] = {}
        for part in parts:
            buckets.setdefault((part.first, part.end), []).append(part)
        self.buckets = dict(sorted(buckets.items()))
        self._firsts = [first for first, _ in self.buckets]
        self._parts = list(self.buckets.values())

    def locate(self, item: IdRange) -> IdRange:
        """Return the range of ids with the cuts to read for it."""
        first, end = int(item.first, 16), int(item.last, 16) + 1
        sources = []
        for parts in self._parts[max(0, bisect_right(self._firsts, first) - 1) :]:
            if parts[0].first >= end:
                break
            sources += [found for part in parts if (found := part.find(first, end))]
        return replace(item, staged=tuple(sources))


class PlanMergeWork(StagingWork[IdRange]):
    """Merges the cuts of a range of ids into parts of one kind.

    Usually one part; more for over ``merge_bytes``.
    """

    def _outputs(self, item: IdRange, notes: list[dict[str, Any]]) -> Iterator[Output]:
        first, end = int(item.first, 16), int(item.last, 16) + 1
        held: list[pa.Table] = []
        size = 0
        for table in read_cuts(self.store, item, self.rows.schema):
            if held and size + table.nbytes > self.sizes.merge_bytes:
                yield from stage(self.kind, self.rows.merge(held), self.sizes, notes, first, end)
                size = 0
            held.append(table)
            size += table.nbytes
        if held:
            yield from stage(self.kind, self.rows.merge(held), self.sizes, notes, first, end)


def staged_parts(
    commits: Commits, read: Iterable[Commit], kind: str, intervals: dict[str, IdRange] | None = None
) -> list[StagedPart]:
    """Return the staged parts of a kind that commits name.

    ``intervals``: by slice id, the ids that they hold; all by default. Raises DamagedFile if a
    commit does not describe its parts.
    """
    found = []
    for commit in read:
        item = intervals[commit.slice] if intervals else IdRange("", id_of(0), id_of(IDS - 1))
        first, end = int(item.first, 16), int(item.last, 16) + 1
        parts = [part for part in commit.parts if part.kind == kind]
        notes = commit.notes["staged"] if parts else []
        if [sum(note["cuts"]) for note in notes] != [part.bytes for part in parts]:
            name = commit_name(commits.folder, commit.slice, commit.generation)
            raise DamagedFile(
                commits.store.location(name), "cuts of other parts than its own", commits.remedy
            )
        found += [_staged(part, note, first, end) for part, note in zip(parts, notes, strict=True)]
    return found


def _staged(part: Part, note: dict[str, Any], first: int, end: int) -> StagedPart:
    return StagedPart(part.path, part.rows, note["long_bytes"], first, end, tuple(note["cuts"]))


def merge_all(
    parts: Sequence[StagedPart],
    store: Store,
    execute: Execute,
    folder: str,
    rows: StagedRows,
    sizes: PlanSizes,
) -> StagedParts:
    """Merge parts, level by level, until each interval of ids has few, and return what is left.

    Commits in the folder of the rows' merges. Raises UserError if parts cannot be merged.
    """
    staged = StagedParts(parts)
    for level in range(1, MOST_LEVELS + 1):
        merges = plan_merges(staged, level, sizes)
        if not merges:
            break
        commits = Commits(store, f"{folder}/{rows.merge_stage}")
        items = {item.id: item for items in merges.values() for item in items}
        make_work = partial(PlanMergeWork, store, rows, folder, sizes)
        failure = f"{rows.what} cannot be merged"
        done = run_all(commits, list(items.values()), make_work, execute, failure)
        merged = staged_parts(commits, done, rows.kind(folder), items)
        left = [
            part for key, parts in staged.buckets.items() if key not in merges for part in parts
        ]
        staged = StagedParts([*left, *merged])
    return staged


def plan_merges(
    staged: StagedParts, level: int, sizes: PlanSizes
) -> dict[tuple[int, int], list[IdRange]]:
    """Return what to merge, by the interval of ids that it replaces; {} if nothing is worth it.

    The ids of items depend on their sources: progress made with other sizes is not mixed in.
    """
    merges: dict[tuple[int, int], list[IdRange]] = {}
    number = 0
    for (first, end), parts in staged.buckets.items():
        groups, count = _group(parts, sizes)
        for place in range(count if groups else 0):
            low, high = (first + (end - first) * each // count for each in (place, place + 1))
            for group in groups:
                sources = tuple(found for part in group if (found := part.find(low, high)))
                if not sources:
                    continue
                digest = hashlib.sha256(repr(sources).encode()).hexdigest()[:12]
                name = f"{level}-{number:06d}-{digest}"
                number += 1
                item = IdRange(name, id_of(low), id_of(high - 1), sources)
                merges.setdefault((first, end), []).append(item)
    return merges


def _group(parts: Sequence[StagedPart], sizes: PlanSizes) -> tuple[list[Sequence[StagedPart]], int]:
    """Return the groups of parts to merge, and the number of intervals to cut them into.

    No groups if the ranges are better read from the parts as they are.
    """
    ranges = _ranges(parts, sizes)
    # More of small parts: as many as make one range.
    small = int(len(parts) / ranges) if ranges else len(parts)
    most = max(sizes.fan_in, small)
    number = -(-len(parts) // most)
    bounds = [len(parts) * place // number for place in range(number + 1)]
    groups = [parts[start:stop] for start, stop in pairwise(bounds)]
    largest = max(_ranges(group, sizes) for group in groups)
    count = max(1, math.ceil(largest / SLACK))
    is_first = (parts[0].first, parts[0].end) == (0, IDS)
    if len(parts) <= max(_most_sources(sizes, is_first), small) or math.ceil(ranges) <= count:
        return [], 1
    return groups, count


def _most_sources(sizes: PlanSizes, is_first: bool) -> int:
    """Return the number of parts that ranges are read from without merging them.

    Requests at most quintuple with four times the rows, wherever one starts, if the first level
    begins a little late and the others early (``tests/jobs/test_planning_growth.py``).
    """
    return sizes.fan_in * 5 // 4 if is_first else max(2, sizes.fan_in // 2)


def _ranges(parts: Iterable[StagedPart], sizes: PlanSizes) -> float:
    """Return the number of ranges that parts make, by their rows and their long captions."""
    rows = sum(part.rows for part in parts)
    return max(rows / sizes.range_rows, sum(part.long_bytes for part in parts) / sizes.range_bytes)
