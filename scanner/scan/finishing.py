"""Between scoring and the sealed run: merge small parts, check all parts, remove merged ones."""

import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scanner.errors import UserError
from scanner.run import Commits, Plan, Run
from scanner.run.compaction import (
    DEFAULT_SIZES,
    KINDS,
    REMOVED_FOLDER,
    GroupSizes,
    Layout,
    arrange,
    is_merged,
)
from scanner.run.progress import Watch
from scanner.run.records import Commit, Part
from scanner.run.results import compare_with_listing
from scanner.scan.merging import CheckWork, PartBatch, PartMergeWork, Removal, RemoveWork
from scanner.scan.stages import run_stage
from scanner.storage import Store

log = logging.getLogger("memscan.scan")

OWN_FOLDERS = tuple(f"{kind}/" for kind in KINDS)
# Bounds of the parts that one item of a check reads.
BATCH_BYTES = 256 << 20
BATCH_PARTS = 256


@dataclass(frozen=True)
class Checked:
    """Where the results of a run are, and the slices whose results are damaged, and why."""

    layout: Layout
    damaged: dict[str, str]


def merge_and_check(
    run: Run,
    plan: Plan,
    address: str | None,
    progress: Watch,
    sizes: GroupSizes = DEFAULT_SIZES,
    reads_all: bool = False,
) -> Checked:
    """Merge the small parts of committed slices, and find damaged slices.

    Merging reads each small part against its checksum. All other parts, and merged ones, are
    compared with one listing per folder, by size and stored checksum; ``reads_all`` reads them too.
    Work for more than a few items runs on the pool at ``address``.
    """
    compacted = run.compaction.done()  # before the slices: see arrange
    done = run.commits.done()
    layout = arrange(plan.slices, done, compacted, sizes)
    if layout.pending:
        failed = run_stage(
            "compact",
            run.compaction,
            layout.pending,
            PartMergeWork(run.store, run.commits.fingerprint),
            address,
            progress,
            generations={group.id: group.generation for group in layout.pending},
        ).failed
        for name, reason in failed.items():
            log.warning(f"the parts of slices {name} are not merged: {reason}")
        layout = arrange(plan.slices, done, run.compaction.done(), sizes)
        if layout.pending:  # failed, or another driver has scored slices again since
            layout = run.layout(plan, sizes)
    results = run.results(layout)
    slices_of = {part.path: slices for part, slices in results.parts()}
    parts = [part for part, _ in results.parts()]
    damaged, suspects = compare_with_listing(run.store, parts)
    unread = [part for part in parts if part.path not in damaged] if reads_all else suspects
    damaged |= read_parts(run.store, unread, address, progress)
    bad = {name: why for path, why in damaged.items() for name in slices_of[path]}
    return Checked(layout, results.damaged | bad)


def read_parts(
    store: Store, parts: Sequence[Part], address: str | None, progress: Watch
) -> dict[str, str]:
    """Read parts, on the pool if they are many, and return why some are damaged, by path.

    Raises UserError if parts cannot be read for another reason.
    """
    if not parts:
        return {}
    commits = Commits(store, f"checks/{uuid.uuid4().hex}")
    batches = [PartBatch(f"{number:06d}", few) for number, few in enumerate(_batches(parts))]
    try:
        failed = run_stage("check", commits, batches, CheckWork(store), address, progress).failed
        if failed:
            raise UserError(
                f"{store.url}: parts cannot be read again: {next(iter(failed.values()))}; fix the "
                "cause and rerun the same command"
            )
        checked = commits.all()
    finally:
        store.remove_folder(commits.folder)
    return {path: why for commit in checked for path, why in commit.notes["damaged"].items()}


def _batches(parts: Sequence[Part]) -> Iterator[tuple[Part, ...]]:
    batch: list[Part] = []
    for part in parts:
        batch.append(part)
        if sum(part.bytes for part in batch) >= BATCH_BYTES or len(batch) == BATCH_PARTS:
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)


def remove_merged(run: Run, manifest: dict[str, Any], address: str | None, watch: Watch) -> None:
    """Remove the parts that were merged into those of a new manifest.

    Parts that the manifest before it lists stay until the next one: readers may have opened it.
    """
    removed = Commits(run.store, REMOVED_FOLDER)
    merged, before = run.compaction.done(), removed.done()
    left = {name: number for name, number in merged.items() if before.get(name, -1) < number}
    if not left:
        return
    listed = _listed(manifest)
    kept = set().union(*map(_listed, run.newest_manifests(2)))
    commits = [one for one in run.compaction.load(left).values() if isinstance(one, Commit)]
    removals = [
        Removal(commit.slice, tuple(commit.notes["replaced"]))
        for commit in commits
        if is_merged(commit)
        and all(path.startswith(OWN_FOLDERS) for path in commit.notes["replaced"])
        and listed.issuperset(path for kind in KINDS.values() for path in commit.paths(kind))
        and kept.isdisjoint(commit.notes["replaced"])
    ]
    if removals:
        work = RemoveWork(run.store)
        run_stage("remove", removed, removals, work, address, watch, generations=left)


def _listed(manifest: dict[str, Any]) -> set[str]:
    return {*manifest["rejects"], *(part["path"] for part in manifest["scores"])}
