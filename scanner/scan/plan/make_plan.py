"""From input files to a plan: samples, distinct captions and slices, written to the run.

What is to be read is frozen first, so that whoever drives, and however often, comes to the same
plan.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.parquet as pq

from scanner.errors import UserError
from scanner.run import Commit, Plan, Slice
from scanner.run.directory import planning_folder
from scanner.scan.plan.chunk import COUNTED, Canonical
from scanner.scan.plan.inputs import Input, Inputs
from scanner.scan.plan.ranges import id_bounds
from scanner.scan.plan.stages import APART, Execute, execute_here, group_ranges, read_units
from scanner.scan.plan.units import Reading, cut
from scanner.storage import Store

READERS = 16


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
