"""Cleaned copies of the input shards: every one made, checked and committed by itself."""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.cluster import Resources, Task, run_items, start_ray
from scanner.curation.copies.cleaning import REFUSED, CleanWork
from scanner.curation.copies.shards import Shard, roots_of, shards_of
from scanner.curation.removals import PARQUET, REMOVED
from scanner.curation.wording import counted
from scanner.errors import UserError
from scanner.run import Commit, Commits, Run
from scanner.run.records import encode
from scanner.storage import Store

log = logging.getLogger("memscan.curate")

# Not among the names that a training set is read by.
FOLDER = ".memscan"
POOL_FROM = 4
CPUS = 1.0
SAY_SECONDS = 10.0
NAMED = 10
MEND = "remove it and run the same memscan curate again: its shard is copied again"


@dataclass(frozen=True)
class Applied:
    """Rows of all shards: ``rows`` = ``kept`` + ``removed``. ``unscanned``: files that the scan
    had left out whole, copied as they are. ``names_refused``: names beside img2dataset's tables
    that lead out of their folder (links, and what a server lists), which were not copied.
    """

    out: str
    shards: int
    rows: int
    kept: int
    removed: int
    unscanned: int
    names_refused: int = 0
    first_refused: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        left_out = f", and {counted(self.unscanned, 'file')} never scanned, copied whole"
        refused = (
            f"; {counted(self.names_refused, 'name')} refused that would lead out of the folder, "
            f"such as {self.first_refused}"
        )
        shards = self.shards - self.unscanned
        return (
            f"{self.out}: {counted(shards, 'shard')} with {counted(self.kept, 'row')} of "
            f"{self.rows:,} ({self.removed:,} removed){left_out if self.unscanned else ''}"
            f"{refused if self.names_refused else ''}"
        )


def apply(
    run: str,
    removals: str,
    copies: str,
    actors: int | None = None,
    address: str | None = None,
    single_writer: bool = False,
    input_roots: Sequence[str] = (),
) -> Applied:
    """Copy the shards that a run scanned to ``copies``, without the rows that a list removes.

    ``removals``: the directory with the list. Goes on where an earlier call stopped. Raises
    UserError where a shard is not the one scanned, where rows do not add up, or where the copies
    there are those of another list. ``single_writer``: no other call copies to the same place.
    ``input_roots``: where shards may lie besides what the scan's --captions named.
    """
    opened = Run.existing(run)
    plan = opened.plan()
    assert plan is not None, "a sealed run has a plan"
    roots = roots_of(opened, input_roots)
    shards = shards_of(plan, copies, roots)
    listed, store = Store(removals, single_writer=True), Store(copies, single_writer)
    digest = _begin(listed, store, copies, plan.counts["samples"])
    commits = Commits(store, f"{FOLDER}/commits", digest, MEND)
    left = _left(commits, shards)
    if len(left) < len(shards):
        log.info(
            f"going on: {len(shards) - len(left):,} of {counted(len(shards), 'shard')} are there"
        )
    log.info(f"apply: {counted(len(left), 'shard')} to copy")
    failed = _run(commits, left, CleanWork(listed, store, roots), actors, address)
    if failed:
        raise UserError(_not_copied(copies, len(shards), list(failed.values())))
    found = _result(commits, shards, copies)
    if found.removed != (wanted := _removed(listed)):
        raise UserError(
            f"--apply {copies}: {found.removed:,} rows were removed, and the list removes "
            f"{wanted:,}; is {removals} a list of {run}?"
        )
    return found


def _removed(listed: Store) -> int:
    """How many rows the list removes."""
    with listed.open(PARQUET) as file:
        batches = pq.ParquetFile(file).iter_batches(columns=["action"])
        return sum(pc.sum(pc.is_in(b["action"], pa.array(REMOVED))).as_py() or 0 for b in batches)


def _begin(listed: Store, store: Store, copies: str, samples: int) -> str:
    """The hash of the list that all copies here are made by; removes what killed writers left."""
    hashed = hashlib.sha256()
    with listed.open(PARQUET) as file:
        while data := file.read(1 << 20):
            hashed.update(data)
    digest = hashed.hexdigest()
    if not store.create(f"{FOLDER}/apply.json", encode({"list": digest, "samples": samples})):
        raise UserError(
            f"--apply {copies}: the copies there were made by another removal list; name another "
            "place, or remove them first"
        )
    store.remove_unfinished()
    return digest


def _left(commits: Commits, shards: list[Shard]) -> list[Task]:
    """The shards without a copy. One that was refused is looked at again: its file may be back."""
    done = commits.done()
    found = commits.look({shard.id: done[shard.id] for shard in shards if shard.id in done})
    refused = {
        name
        for name, commit in found.items()
        if isinstance(commit, Commit) and REFUSED in commit.notes
    }
    return [
        Task(shard, done[shard.id] + 1 if shard.id in refused else 0)
        for shard in shards
        if shard.id not in done or shard.id in refused
    ]


def _not_copied(copies: str, shards: int, reasons: list[str]) -> str:
    there = shards - len(reasons)
    others = f"; the other {there:,} {'is' if there == 1 else 'are'} there" if there else ""
    lines = [
        f"--apply {copies}: {len(reasons):,} of {counted(shards, 'shard')} could not be "
        f"copied{others}. Once this is mended, the same command goes on:",
        *reasons[:NAMED],
    ]
    if len(reasons) > NAMED:
        lines.append(f"and {len(reasons) - NAMED:,} more")
    return "\n  ".join(lines)


def _run(
    commits: Commits,
    tasks: list[Task],
    work: CleanWork,
    actors: int | None,
    address: str | None,
) -> dict[str, str]:
    """Do the shards, few in this process, many by a pool; why some failed, by id."""
    if len(tasks) < POOL_FROM and not actors:
        return _run_here(commits, tasks, work)
    start_ray(address)
    failed: dict[str, str] = {}
    finished, told, last = 0, 0, time.monotonic()
    for event in run_items(commits, tasks, work, Resources(actors, CPUS, 0), in_flight=1):
        if event.commit and REFUSED in event.commit.notes:
            failed[event.item.id] = event.commit.notes[REFUSED]
        elif event.kind == "commit":
            finished += 1
        elif event.kind == "quarantine":
            failed[event.item.id] = f"{event.item.source}: {event.reason}"
        elif event.kind in ("retry", "note"):
            source = event.item.source if event.item else ""
            log.warning(f"apply: {source} {event.reason}")
        if finished > told and time.monotonic() - last > SAY_SECONDS:
            log.info(f"apply: {finished:,} of {counted(len(tasks), 'shard')} copied")
            told, last = finished, time.monotonic()
    return failed


def _run_here(commits: Commits, tasks: list[Task], work: CleanWork) -> dict[str, str]:
    failed = {}
    cleaner = work()
    for task in tasks:
        shard = task.item
        notes = cleaner.finish(cleaner.compute(cleaner.prepare(shard))).notes
        commit = commits.commit(shard.id, [], task.generation, notes=notes)
        if REFUSED in commit.notes:
            failed[shard.id] = commit.notes[REFUSED]
    return failed


def _result(commits: Commits, shards: list[Shard], copies: str) -> Applied:
    found = commits.of(shard.id for shard in shards)
    sums = {
        name: sum(commit.notes[name] for commit in found) for name in ("rows", "kept", "removed")
    }
    unscanned = sum(shard.rows is None for shard in shards)
    refused = [commit.notes for commit in found if "names_refused" in commit.notes]
    return Applied(
        copies,
        len(shards),
        **sums,
        unscanned=unscanned,
        names_refused=sum(notes["names_refused"] for notes in refused),
        first_refused=refused[0]["first_refused"] if refused else "",
    )
