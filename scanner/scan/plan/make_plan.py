"""From input files to a plan: samples, distinct captions and slices, written to the run.

The inputs are frozen first: every driver, and every rerun, makes the same plan.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import itemgetter
from typing import Any

import pyarrow.parquet as pq

from scanner.errors import UserError
from scanner.run import Commit, Commits, Output, Plan, Slice, Tier
from scanner.run.directory import planning_folder
from scanner.run.records import LARGEST_BYTES
from scanner.scan.plan.chunk import COUNTS, Canonical, unreadable_reject
from scanner.scan.plan.group_stage import GroupStage
from scanner.scan.plan.grouping import id_bounds
from scanner.scan.plan.inputs import FrozenInputs, Input, Inputs, Unit, pack_units, split_unit
from scanner.scan.plan.reading import ReadWork
from scanner.scan.plan.running import Execute, execute_here
from scanner.scan.plan.sizes import DEFAULT_SIZES, PlanSizes
from scanner.scan.plan.tiers import (
    BY_SAMPLES,
    BY_SAMPLES_OR_IMAGES,
    ScanOrder,
    count_tiers,
    tiers_of,
)
from scanner.storage import Store

READERS = 16
# The folder of segments that are read one by one, after their unit has failed.
APART = "apart"


def make_plan(
    inputs: Inputs,
    store: Store,
    make_canonical: Callable[[], Canonical],
    slice_rows: Callable[[int], int],
    limit: int | None = None,
    execute: Execute = execute_here,
    earlier: Sequence[Plan] = (),
    sizes: PlanSizes = DEFAULT_SIZES,
    order: ScanOrder = "id",
) -> Plan:
    """Read the inputs, write samples, rejects and captions, and describe them.

    ``make_canonical``: picklable, makes the model's normalization; ``slice_rows``: number of
    captions → captions per slice; ``execute``: runs the work; ``earlier``: plans of the same run,
    whose captions are not planned again; ``sizes``: how much to read, group and write at a time;
    ``order``: of the slices, ``yield`` for tiers by number of samples, and by how often images are
    repeated if the inputs have image keys.
    Progress is committed in the folder of this generation: a rerun resumes with the inputs of the
    first call. Memory does not grow with the data. Raises UserError if there are no captions, or
    captions cannot be grouped.
    """
    folder = planning_folder(len(earlier))
    by_images = order == "yield" and limit is None and _have_image_keys(inputs.files)
    frozen = _freeze(inputs, store, folder, earlier, sizes, order, by_images)
    read = read_units(frozen, store, make_canonical, execute, folder, sizes)
    files = _sum_files(read)
    counts = {name: sum(file[name] for file in files) for name in COUNTS}
    counts["reference_samples"] = sum(file["samples"] for file in files if file["is_reference"])
    counts["rejected_files"] = sum(file["unreadable"] for file in files)
    if counts["samples"] == 0:
        reason = _first_reason(store, read)
        _reset(store, folder)
        raise UserError(
            f"no captions in {', '.join(file['url'] for file in files[:3])}: {counts['rows']} "
            f"rows, {counts['rejects']} of them rejected {reason}; check --captions and "
            "--caption-column"
        )
    stage = GroupStage(store, execute, folder, earlier, sizes, frozen.order, frozen.by_images)
    grouped = stage.run(read, slice_rows, limit)
    captions = _paths(grouped, "captions")
    first = sum(len(plan.slices) for plan in earlier)
    names = BY_SAMPLES_OR_IMAGES if frozen.by_images else BY_SAMPLES
    slices, tiers = list_slices(store, captions, names, first)
    segments = [segment for unit in frozen.units for segment in unit.segments]
    return Plan(
        inputs=tuple(files),
        samples=_paths(read, "samples"),
        captions=captions,
        rejects=_paths(read, "rejects"),
        slices=tuple(slices),
        counts={**counts, "captions": sum(item.rows for item in slices)},
        columns={segment.url: vars(segment.columns) for segment in segments if segment.columns},
        skipped=frozen.skipped,
        tiers=tiers,
    )


def list_slices(
    store: Store, captions: Sequence[str], names: Sequence[str], first: int = 0
) -> tuple[list[Slice], tuple[Tier, ...]]:
    """Return one slice per row group of the captions files, in order of the tiers, and the tiers.

    ``names``: of the tiers; ``first``: number of the first slice.
    """

    def read_groups(name: str) -> list[tuple[int, tuple[str, str, str, int, int]]]:
        with store.open(name) as file:
            metadata = pq.read_metadata(file)
        return [
            (tier, (name, *id_bounds(metadata, group), metadata.row_group(group).num_rows, group))
            for group, tier in enumerate(tiers_of(metadata))
        ]

    with ThreadPoolExecutor(READERS) as threads:
        groups = [group for groups in threads.map(read_groups, captions) for group in groups]
    groups.sort(key=itemgetter(0))  # stable
    slices = [Slice(f"{number:06d}", *group) for number, (_, group) in enumerate(groups, first)]
    return slices, count_tiers((tier for tier, _ in groups), names)


def _freeze(
    inputs: Inputs,
    store: Store,
    folder: str,
    earlier: Sequence[Plan],
    sizes: PlanSizes,
    order: ScanOrder,
    by_images: bool,
) -> FrozenInputs:
    """Return the inputs as the first driver found them; creates inputs.json if absent."""
    name = f"{folder}/inputs.json"
    if not store.exists(name):
        kept = _keep_columns(inputs.files, earlier)
        units, skipped = pack_units(inputs.files, sizes), inputs.skipped.to_json()
        several = any(item.columns and item.columns.more_captions for item in inputs.files)
        frozen = FrozenInputs(kept, units, skipped, several, order, by_images)
        if store.create(name, frozen.to_json()):
            return frozen
    return FrozenInputs.from_json(store.location(name), store.read(name, LARGEST_BYTES))


def _have_image_keys(inputs: Sequence[Input]) -> bool:
    training = (item for item in inputs if not item.is_reference)
    return any(item.columns and item.columns.image_key for item in training)


def _keep_columns(inputs: Sequence[Input], earlier: Sequence[Plan]) -> tuple[str, ...]:
    """Return the columns to copy to samples, the same for all plans of a run.

    Each has the spelling of the first file that has it.
    """
    if earlier:
        kept = [name for plan in earlier for one in plan.columns.values() for name in one["keep"]]
    else:
        kept = [name for item in inputs if item.columns for name in item.columns.keep]
    spelt: dict[str, str] = {}
    for name in kept:
        spelt.setdefault(name.lower(), name)
    return tuple(spelt.values())


def _sum_files(read: Sequence[Commit]) -> list[dict[str, Any]]:
    """Return the counts of each file, summed over its segments."""
    files: dict[tuple[str, bool], dict[str, Any]] = {}
    for commit in read:
        for segment in commit.notes["files"]:
            file = files.setdefault((segment["url"], segment["is_reference"]), segment)
            if file is not segment:
                file.update({name: file[name] + segment[name] for name in COUNTS})
                file["unreadable"] = file["unreadable"] or segment["unreadable"]
                file["notes"] = dict(Counter(file["notes"]) + Counter(segment["notes"]))
    return list(files.values())


def _paths(commits: Sequence[Commit], kind: str) -> tuple[str, ...]:
    return tuple(part.path for commit in commits for part in commit.parts if part.kind == kind)


def _first_reason(store: Store, read: Sequence[Commit]) -> str:
    for name in _paths(read, "rejects")[:1]:
        with store.open(name) as file:
            return f"(the first: {pq.read_table(file)['reason'][0]})"
    return ""


def _reset(store: Store, folder: str) -> None:
    """Remove the progress of planning: the user has to correct the input files first."""
    for stage in ("read", APART):
        for name in store.names(f"{folder}/{stage}"):
            store.remove(name)
    store.remove(f"{folder}/inputs.json")


def read_units(
    frozen: FrozenInputs,
    store: Store,
    make_canonical: Callable[[], Canonical],
    execute: Execute,
    folder: str,
    sizes: PlanSizes,
) -> list[Commit]:
    """Read all units and return their commits.

    A unit that fails is read again segment by segment, to reject only the segments that fail.
    """
    commits = Commits(store, f"{folder}/read")
    make_work = partial(ReadWork, make_canonical, frozen.keep, folder, sizes, frozen.names_column)
    failed = execute(commits, frozen.units, make_work).failed
    for unit in frozen.units:
        if unit.id in failed and len(unit.segments) > 1:
            commits.commit(unit.id, (), notes={"files": [], "apart": True})
        elif unit.id in failed:
            _reject_unit(commits, unit, failed[unit.id])
    unit_commits = commits.of(unit.id for unit in frozen.units)
    units_apart = {
        unit.id: split_unit(unit)
        for unit, commit in zip(frozen.units, unit_commits, strict=True)
        if commit.notes.get("apart")
    }
    if not units_apart:
        return unit_commits
    commits = Commits(store, f"{folder}/{APART}")
    single_units = [unit for units in units_apart.values() for unit in units]
    failed = execute(commits, single_units, make_work).failed
    for unit in single_units:
        if unit.id in failed:
            _reject_unit(commits, unit, failed[unit.id])
    by_id = {commit.slice: commit for commit in commits.of(unit.id for unit in single_units)}
    return [
        one
        for commit in unit_commits
        for one in [by_id[unit.id] for unit in units_apart.get(commit.slice, ())] or [commit]
    ]


def _reject_unit(commits: Commits, unit: Unit, reason: str) -> None:
    outputs = [
        Output("rejects", unreadable_reject(segment.url, reason)) for segment in unit.segments
    ]
    zeros = {**dict.fromkeys(COUNTS, 0), "unreadable": True, "notes": {}}
    files = [
        {"url": segment.url, "is_reference": segment.is_reference, **zeros}
        for segment in unit.segments
    ]
    commits.commit(unit.id, outputs, notes={"files": files})
