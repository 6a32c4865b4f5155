"""Write cleaned copies of the input shards, each made, checked and committed on its own."""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.cluster import (
    Committed,
    Event,
    Execution,
    InProcess,
    Notice,
    Requeued,
    Resources,
    Started,
    execute,
)
from scanner.curation.copies.cleaning import REFUSED, Cleaner, CleanWork
from scanner.curation.copies.shards import Shard, roots_of, shards_of
from scanner.curation.removals import PARQUET, REMOVED
from scanner.errors import UserError
from scanner.plurals import pluralize
from scanner.run import Commit, Commits, Run
from scanner.run.records import encode
from scanner.storage import Store

log = logging.getLogger("memscan.curate")

# A name that is not read as part of a training set.
FOLDER = ".memscan"
POOL_FROM = 4
CPUS = 1.0
LOG_SECONDS = 10.0
NAMED = 10
REMEDY = "remove it and rerun the same memscan curate, which copies its shard again"


@dataclass(frozen=True)
class Applied:
    """Rows of all shards: ``rows`` = ``kept`` + ``removed``. ``unscanned``: files that the scan
    excluded as a whole, copied unchanged. ``names_refused``: names next to img2dataset's tables
    that lead out of their folder (links, or a server's listing), which were not copied.
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
        unscanned = f", and {pluralize(self.unscanned, 'file')} never scanned, copied whole"
        refused = (
            f"; {pluralize(self.names_refused, 'name')} refused that would lead out of the folder, "
            f"such as {self.first_refused}"
        )
        shards = self.shards - self.unscanned
        return (
            f"{self.out}: {pluralize(shards, 'shard')} with {pluralize(self.kept, 'row')} of "
            f"{self.rows:,} ({self.removed:,} removed){unscanned if self.unscanned else ''}"
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
    pool_from: int = POOL_FROM,
) -> Applied:
    """Copy the shards that a run scanned to ``copies``, without the rows that a list removes.

    ``removals``: the directory with the list. ``single_writer``: no other call copies to the same
    location. ``input_roots``: where shards may be stored besides what the scan's --captions named.
    ``pool_from``: from how many shards on a pool is worth its start; fewer are copied in this
    process, unless ``actors`` is given.

    Resumes an earlier call. Raises UserError if a shard is not the one that was scanned, if rows
    do not add up, or if the copies there follow another list.
    """
    opened = Run.existing(run)
    plan = opened.plan()
    assert plan is not None, "a sealed run has a plan"
    roots = roots_of(opened, input_roots)
    shards = shards_of(plan, copies, roots)
    removal_list, store = Store(removals, single_writer=True), Store(copies, single_writer)
    work = CleanWork(removal_list, store, roots)
    samples = plan.counts["samples"]
    applied = copy_shards(
        removal_list, store, shards, work, "", samples, actors, address, pool_from
    )
    if applied.removed != (expected := _removed(removal_list)):
        raise UserError(
            f"--apply {copies}: {applied.removed:,} rows were removed, but the list removes "
            f"{expected:,}; is {removals} a list of {run}?"
        )
    return applied


def copy_shards(
    removal_list: Store,
    store: Store,
    shards: list[Shard],
    work: Callable[[], Cleaner],
    mode: str = "",
    samples: int = 0,
    actors: int | None = None,
    address: str | None = None,
    pool_from: int = POOL_FROM,
) -> Applied:
    """Copy shards by ``work``, each once; ``mode``: how rows are found, if not by file and row;
    ``samples``: of the run.

    Raises UserError if a shard cannot be copied, or if the copies there follow another list.
    """
    copies = store.url
    digest = _begin(removal_list, store, copies, samples, mode)
    commits = Commits(store, f"{FOLDER}/commits", digest, REMEDY)
    copying = _Copying(len(shards))
    here = InProcess[Shard](lambda left: len(left) < pool_from and not actors)
    outcome = execute(
        commits,
        shards,
        work,
        Resources(actors, CPUS, 0),
        address=address,
        in_process=here,
        generations=_generations(commits, shards),
        execution=Execution(in_flight=1, tags={"stage": "copy"}),
        on_event=copying,
    )
    sources = {shard.id: shard.source for shard in shards}
    given_up = {name: f"{sources[name]}: {why}" for name, why in outcome.failed.items()}
    failed = copying.refused | given_up
    if failed:
        raise UserError(_not_copied(copies, len(shards), list(failed.values())))
    return _result(commits, shards, copies)


def _removed(removal_list: Store) -> int:
    """Return how many rows the list removes, each of which may be listed for several captions."""
    rows, last = 0, None
    with removal_list.open(PARQUET) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=["source", "row", "action"]):
            removed = batch.filter(pc.is_in(batch["action"], pa.array(REMOVED)))
            # The list is sorted by source and row.
            for row in zip(removed["source"].to_pylist(), removed["row"].to_pylist(), strict=True):
                rows += row != last
                last = row
    return rows


def _begin(removal_list: Store, store: Store, copies: str, samples: int, mode: str) -> str:
    """Return the hash of the list that all copies here follow; remove what killed writers left."""
    hashed = hashlib.sha256(mode.encode())
    with removal_list.open(PARQUET) as file:
        while data := file.read(1 << 20):
            hashed.update(data)
    digest = hashed.hexdigest()
    store.preflight()
    if not store.create(f"{FOLDER}/apply.json", encode({"list": digest, "samples": samples})):
        raise UserError(
            f"--apply {copies}: the copies there were made by another removal list; name another "
            "location, or remove them first"
        )
    store.remove_unfinished()
    return digest


def _generations(commits: Commits, shards: list[Shard]) -> dict[str, int]:
    """Return the generation that each refused shard needs: its file may be back."""
    done = commits.done()
    existing = commits.load({shard.id: done[shard.id] for shard in shards if shard.id in done})
    return {
        name: done[name] + 1
        for name, commit in existing.items()
        if isinstance(commit, Commit) and REFUSED in commit.notes
    }


def _not_copied(copies: str, shards: int, reasons: list[str]) -> str:
    copied = shards - len(reasons)
    others = f"; the other {copied:,} {'is' if copied == 1 else 'are'}" if copied else ""
    lines = [
        f"--apply {copies}: {len(reasons):,} of {pluralize(shards, 'shard')} could not be "
        f"copied{others}. Fix this and rerun the same command:",
        *reasons[:NAMED],
    ]
    if len(reasons) > NAMED:
        lines.append(f"and {len(reasons) - NAMED:,} more")
    return "\n  ".join(lines)


class _Copying:
    """Logs the events of copying; ``refused``: reasons of refused shards, by id."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.refused: dict[str, str] = {}
        self._left = self._copied = self._logged = 0
        self._logged_at = time.monotonic()

    def __call__(self, event: Event[Shard]) -> None:
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Committed) and REFUSED in event.commit.notes:
            self.refused[event.item.id] = event.commit.notes[REFUSED]
        elif isinstance(event, Committed):
            self._copied += 1
        elif isinstance(event, Requeued):
            fields = {"slice": event.item.id, **event.location.fields()}
            log.warning(f"apply: {event.item.source} {event.reason}", extra=fields)
        elif isinstance(event, Notice):
            log.info(f"apply: {event.message}")
        if self._copied > self._logged and time.monotonic() - self._logged_at > LOG_SECONDS:
            log.info(f"apply: {self._copied:,} of {pluralize(self._left, 'shard')} copied")
            self._logged, self._logged_at = self._copied, time.monotonic()

    def _start(self, event: Started[Shard]) -> None:
        self._left = len(event.items)
        if self._left < self.shards:
            existing = f"{self.shards - self._left:,} of {pluralize(self.shards, 'shard')}"
            log.info(f"resuming: {existing} are copied already")
        log.info(f"apply: {pluralize(self._left, 'shard')} to copy")


def _result(commits: Commits, shards: list[Shard], copies: str) -> Applied:
    copied = commits.of(shard.id for shard in shards)
    sums = {
        name: sum(commit.notes[name] for commit in copied) for name in ("rows", "kept", "removed")
    }
    unscanned = sum(shard.rows is None for shard in shards)
    refused = [commit.notes for commit in copied if "names_refused" in commit.notes]
    return Applied(
        copies,
        len(shards),
        **sums,
        unscanned=unscanned,
        names_refused=sum(notes["names_refused"] for notes in refused),
        first_refused=refused[0]["first_refused"] if refused else "",
    )
