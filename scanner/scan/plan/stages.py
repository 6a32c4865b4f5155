"""The two stages of planning: items that are committed whole, in the plan's folder."""

from collections.abc import Callable, Sequence
from functools import partial

from scanner.cluster import InProcess, Item, Outcome, Resources, Work, execute
from scanner.errors import UserError
from scanner.run import Commit, Commits, Output, Plan
from scanner.scan.plan.chunk import COUNTED, Canonical, unreadable
from scanner.scan.plan.grouping import GroupWork, cutoff
from scanner.scan.plan.ranges import id_ranges
from scanner.scan.plan.reading import ReadWork, spellings_kind
from scanner.scan.plan.units import Reading, Unit, apart
from scanner.storage import Store

# A range of ids is read whole: by rows, and by the bytes of what is longer than usual.
RANGE_ROWS = 1 << 20
RANGE_BYTES = 64 << 20
# The folder of pieces that are read apart, since their unit has failed.
APART = "apart"
ONE_CORE = Resources(None, cpus=1.0, gpus=0)
# Runs the items that have no commit yet.
Execute = Callable[[Commits, Sequence[Item], Callable[[], Work]], Outcome]


def execute_here(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
    """Run the items that have no commit yet in this process, however many they are."""
    here = InProcess[Item](lambda _: True)
    return execute(commits, items, make_work, ONE_CORE, in_process=here)


def read_units(
    reading: Reading,
    store: Store,
    make_canonical: Callable[[], Canonical],
    execute: Execute,
    folder: str,
) -> list[Commit]:
    """The commits of all units. One that fails is read again piece by piece, so that only a piece
    that fails by itself counts as unreadable."""
    commits = Commits(store, f"{folder}/read")
    make_work = partial(ReadWork, make_canonical, reading.keep, folder)
    failed = execute(commits, reading.units, make_work).failed
    for unit in reading.units:
        if unit.id in failed and len(unit.pieces) > 1:
            commits.commit(unit.id, (), notes={"files": [], "apart": True})
        elif unit.id in failed:
            _give_up(commits, unit, failed[unit.id])
    found = commits.of(unit.id for unit in reading.units)
    pieces = {
        unit.id: apart(unit)
        for unit, commit in zip(reading.units, found, strict=True)
        if commit.notes.get("apart")
    }
    if not pieces:
        return found
    commits = Commits(store, f"{folder}/{APART}")
    every = [piece for of_unit in pieces.values() for piece in of_unit]
    failed = execute(commits, every, make_work).failed
    for piece in every:
        if piece.id in failed:
            _give_up(commits, piece, failed[piece.id])
    by_id = {commit.slice: commit for commit in commits.of(piece.id for piece in every)}
    return [
        one
        for commit in found
        for one in [by_id[piece.id] for piece in pieces.get(commit.slice, ())] or [commit]
    ]


def _give_up(commits: Commits, unit: Unit, reason: str) -> None:
    outputs = [Output("rejects", unreadable(piece.url, reason)) for piece in unit.pieces]
    nothing = {**dict.fromkeys(COUNTED, 0), "unreadable": True, "notes": {}}
    files = [
        {"url": piece.url, "is_reference": piece.is_reference, **nothing} for piece in unit.pieces
    ]
    commits.commit(unit.id, outputs, notes={"files": files})


def group_ranges(
    read: Sequence[Commit],
    store: Store,
    slice_rows: Callable[[int], int],
    limit: int | None,
    execute: Execute,
    folder: str,
    earlier: Sequence[Plan],
) -> list[Commit]:
    """The commits of all ranges of caption ids. Raises UserError where one cannot be grouped."""
    parts = [part for commit in read for part in commit.parts]
    parts = [part for part in parts if part.kind == spellings_kind(folder)]
    staged = [part.path for part in parts]
    rows = sum(part.rows for part in parts)
    known = [name for plan in earlier for name in plan.captions]
    known_rows = sum(plan.counts["captions"] for plan in earlier)
    size = sum(commit.notes.get("long_bytes", 0) for commit in read)
    ranges = id_ranges(1 + max((rows + known_rows) // RANGE_ROWS, size // RANGE_BYTES))
    highest = None if limit is None else cutoff(store, staged, known, ranges, limit)
    if highest and not any(
        file["is_reference"] for commit in read for file in commit.notes["files"]
    ):
        ranges = [item for item in ranges if item.first <= highest]
    make_work = partial(GroupWork, store, staged, known, highest, slice_rows(rows))
    commits = Commits(store, f"{folder}/group")
    failed = execute(commits, ranges, make_work).failed
    if failed:
        name, reason = next(iter(failed.items()))
        raise UserError(
            f"{store.url}: {len(failed)} of {len(ranges)} ranges of caption ids cannot be grouped "
            f"({folder}/group/{name}: {reason}); what is done is kept: mend the cause and run the "
            "same command again"
        )
    return commits.of(item.id for item in ranges)
