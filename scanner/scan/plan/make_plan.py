"""From input files to a plan: samples, distinct captions and slices, written to the run.

What is to be read is frozen first, so that whoever drives, and however often, comes to the same
plan.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from scanner.cluster import InProcess, Item, Outcome, Resources, Work, execute
from scanner.errors import UserError
from scanner.run import Commit, Commits, Output, Plan, Slice
from scanner.run.directory import planning_folder
from scanner.scan.plan.chunk import COUNTED, Canonical, unreadable
from scanner.scan.plan.grouping import GroupWork, cutoff, id_bounds, id_ranges
from scanner.scan.plan.inputs import Input, Inputs, Reading, Unit, apart, cut
from scanner.scan.plan.reading import ReadWork, spellings_kind
from scanner.storage import Store

READERS = 16
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


def make_plan(
    inputs: Inputs,
    store: Store,
    make_canonical: Callable[[], Canonical],
    slice_rows: Callable[[int], int],
    limit: int | None = None,
    execute: Execute = execute_here,
    earlier: Sequence[Plan] = (),
) -> Plan:
    """Read the inputs, write samples, rejects and captions, and describe them.

    ``make_canonical`` (picklable) makes the model's normalisation, ``slice_rows`` gives the slice
    size for a number of captions, ``execute`` runs the work. ``earlier``: plans of the same run,
    whose captions are not planned again. What is done is kept in the folder of this generation:
    planning goes on where it stopped, with the inputs it began with. Memory does not grow with
    the data. Raises UserError where there is no caption at all, or captions cannot be grouped.
    """
    folder = planning_folder(len(earlier))
    reading = _freeze(inputs, store, folder, earlier)
    read = read_units(reading, store, make_canonical, execute, folder)
    files = _files(read)
    counts = {name: sum(file[name] for file in files) for name in COUNTED}
    counts["reference_samples"] = sum(file["samples"] for file in files if file["is_reference"])
    counts["rejected_files"] = sum(file["unreadable"] for file in files)
    if counts["samples"] == 0:
        reason = _first_reason(store, read)
        _forget(store, folder)
        raise UserError(
            f"no captions in {', '.join(file['url'] for file in files[:3])}: {counts['rows']} "
            f"rows, {counts['rejects']} of them rejected {reason}"
        )
    grouped = group_ranges(read, store, slice_rows, limit, execute, folder, earlier)
    captions = _paths(grouped, "captions")
    slices = slices_of(store, captions, sum(len(plan.slices) for plan in earlier))
    pieces = [piece for unit in reading.units for piece in unit.pieces]
    return Plan(
        inputs=tuple(files),
        samples=_paths(read, "samples"),
        captions=captions,
        rejects=_paths(read, "rejects"),
        slices=tuple(slices),
        counts={**counts, "captions": sum(item.rows for item in slices)},
        columns={piece.url: vars(piece.columns) for piece in pieces if piece.columns},
        skipped=reading.skipped,
    )


def slices_of(store: Store, captions: Sequence[str], first: int = 0) -> list[Slice]:
    """A slice for each row group of captions files, numbered from ``first``."""

    def look(name: str) -> list[tuple[str, str, str, int]]:
        with store.open(name) as file:
            metadata = pq.read_metadata(file)
        return [
            (name, *id_bounds(metadata, group), metadata.row_group(group).num_rows)
            for group in range(metadata.num_row_groups)
        ]

    with ThreadPoolExecutor(READERS) as threads:
        found = [group for groups in threads.map(look, captions) for group in groups]
    return [Slice(f"{first + number:06d}", *group) for number, group in enumerate(found)]


def _freeze(inputs: Inputs, store: Store, folder: str, earlier: Sequence[Plan]) -> Reading:
    """What is read, as the first driver saw it."""
    name = f"{folder}/inputs.json"
    if not store.exists(name):
        kept = _keep(inputs.files, earlier)
        reading = Reading(kept, cut(inputs.files), inputs.skipped.to_json())
        if store.create(name, reading.to_json()):
            return reading
    return Reading.from_json(store.location(name), store.read(name))


def _keep(inputs: Sequence[Input], earlier: Sequence[Plan]) -> tuple[str, ...]:
    """The columns carried along, as the first file that has one spells it; all samples of a run
    have the same."""
    if earlier:
        kept = [name for plan in earlier for one in plan.columns.values() for name in one["keep"]]
    else:
        kept = [name for item in inputs if item.columns for name in item.columns.keep]
    spelt: dict[str, str] = {}
    for name in kept:
        spelt.setdefault(name.lower(), name)
    return tuple(spelt.values())


def _files(read: Sequence[Commit]) -> list[dict[str, Any]]:
    """What was counted in each file, the pieces of one together."""
    files: dict[tuple[str, bool], dict[str, Any]] = {}
    for commit in read:
        for piece in commit.notes["files"]:
            file = files.setdefault((piece["url"], piece["is_reference"]), piece)
            if file is not piece:
                file.update({name: file[name] + piece[name] for name in COUNTED})
                file["unreadable"] = file["unreadable"] or piece["unreadable"]
                file["notes"] = dict(Counter(file["notes"]) + Counter(piece["notes"]))
    return list(files.values())


def _paths(commits: Sequence[Commit], kind: str) -> tuple[str, ...]:
    return tuple(part.path for commit in commits for part in commit.parts if part.kind == kind)


def _first_reason(store: Store, read: Sequence[Commit]) -> str:
    for name in _paths(read, "rejects")[:1]:
        with store.open(name) as file:
            return f"(the first: {pq.read_table(file)['reason'][0]})"
    return ""


def _forget(store: Store, folder: str) -> None:
    """Begin anew next time: the user is going to mend the input files."""
    for stage in ("read", APART):
        for name in store.names(f"{folder}/{stage}"):
            store.remove(name)
    store.remove(f"{folder}/inputs.json")


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
