"""Cleaned copies of the input shards: every one made, checked and committed by itself."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.cluster import Resources, Task, run_items, start_ray
from scanner.curation.copies.cleaning import CleanWork
from scanner.curation.copies.shards import Shard, shards_of
from scanner.curation.removals import PARQUET, REMOVED
from scanner.errors import UserError
from scanner.run import Commits, Run
from scanner.run.records import encode
from scanner.storage import Store

# Not among the names that a training set is read by.
FOLDER = ".memscan"
POOL_FROM = 4
CPUS = 1.0
SAY_SECONDS = 10.0
MEND = "remove it and run the same memscan curate again: its shard is copied again"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Applied:
    """Rows of all shards: ``rows`` = ``kept`` + ``removed``. ``unscanned``: files that the scan
    had left out whole, copied as they are."""

    out: str
    shards: int
    rows: int
    kept: int
    removed: int
    unscanned: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        left_out = f", and {self.unscanned:,} files that were never scanned, as they are"
        shards = self.shards - self.unscanned
        return (
            f"{self.out}: {shards:,} shard{'s' * (shards != 1)} with {self.kept:,} rows of "
            f"{self.rows:,} ({self.removed:,} removed){left_out if self.unscanned else ''}"
        )


def apply(
    run: str,
    removals: str,
    copies: str,
    say: Say,
    actors: int | None = None,
    address: str | None = None,
    single_writer: bool = False,
) -> Applied:
    """Copy the shards that a run scanned to ``copies``, without the rows that a list removes.

    ``removals``: the directory with the list. Goes on where an earlier call stopped. Raises
    UserError where a shard is not the one scanned, where rows do not add up, or where the copies
    there are those of another list. ``single_writer``: no other call copies to the same place.
    """
    opened = Run.existing(run)
    plan = opened.plan()
    assert plan is not None, "a sealed run has a plan"
    shards = shards_of(plan, copies)
    listed, store = Store(removals, single_writer=True), Store(copies, single_writer)
    digest = _begin(listed, store, copies, plan.counts["samples"])
    commits = Commits(store, f"{FOLDER}/commits", digest, MEND)
    done = commits.done()
    left = [shard for shard in shards if shard.id not in done]
    if len(left) < len(shards):
        say(f"going on: {len(shards) - len(left)} of {len(shards)} shards are there")
    say(f"apply: {len(left):,} shards to copy")
    failed = _run(commits, left, CleanWork(listed, store), say, actors, address)
    if failed:
        raise UserError(
            f"--apply {copies}: {len(failed)} of {len(shards)} shards were not copied; the others "
            "are done, and the same command goes on. " + "; ".join(list(failed.values())[:3])
        )
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


def _run(
    commits: Commits,
    shards: list[Shard],
    work: CleanWork,
    say: Say,
    actors: int | None,
    address: str | None,
) -> dict[str, str]:
    """Do the shards, few in this process, many by a pool; why some failed, by id."""
    if len(shards) < POOL_FROM and not actors:
        return _run_here(commits, shards, work)
    start_ray(address)
    failed: dict[str, str] = {}
    finished, last = 0, time.monotonic()
    tasks = [Task(shard) for shard in shards]
    for event in run_items(commits, tasks, work, Resources(actors, CPUS, 0), in_flight=1):
        finished += event.kind == "commit"
        if event.kind == "quarantine":
            failed[event.item.id] = event.reason.removeprefix("UserError: ")
        if event.kind in ("retry", "note"):
            say(f"apply: {event.item.source if event.item else ''} {event.reason}")
        if time.monotonic() - last > SAY_SECONDS:
            say(f"apply: {finished:,} of {len(shards):,} shards copied")
            last = time.monotonic()
    return failed


def _run_here(commits: Commits, shards: list[Shard], work: CleanWork) -> dict[str, str]:
    failed = {}
    cleaner = work()
    for shard in shards:
        try:
            result = cleaner.finish(cleaner.compute(cleaner.prepare(shard)))
        except UserError as error:
            failed[shard.id] = str(error)
        else:
            commits.commit(shard.id, result.outputs, notes=result.notes)
    return failed


def _result(commits: Commits, shards: list[Shard], copies: str) -> Applied:
    found = commits.of(shard.id for shard in shards)
    sums = {
        name: sum(commit.notes[name] for commit in found) for name in ("rows", "kept", "removed")
    }
    unscanned = sum(shard.rows is None for shard in shards)
    return Applied(copies, len(shards), **sums, unscanned=unscanned)
