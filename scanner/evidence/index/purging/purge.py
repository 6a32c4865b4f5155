"""Purge an index: write new files, put them in place, remove the old."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict

from scanner.errors import UserError
from scanner.evidence.index.index_files import (
    Index,
    IndexRecord,
    Manifest,
    manifest_names,
    manifest_of,
    open_index,
    seal,
)
from scanner.evidence.index.plan import PLAN, IndexPlan, read_plan
from scanner.evidence.index.purging.rewritten import (
    Purging,
    purged_commit,
    purged_plan,
)
from scanner.run import Commit, Commits
from scanner.run.directory import PURGE_JOURNAL
from scanner.run.json_files import Count, FileName
from scanner.run.records import LARGEST_BYTES, commit_name, decode, encode
from scanner.run.results import DamagedPart
from scanner.storage import Store

log = logging.getLogger("memscan.purge")

COMMITS = "commits"
# Folders whose files the plan and the commits name.
NAMED = ("lists", "shards", "unreadable")
REMEDY = "remove the index and make it again by memscan index-images"


@dataclass(frozen=True)
class IndexJournal:
    """What is put in place once all new files are written: ``commits``: texts by name; ``plan``:
    the text of plan.json; ``removed``: images."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    commits: dict[FileName, str]
    plan: str
    record: IndexRecord
    manifest: Manifest
    removed: Count


def purge_index(
    url: str,
    name: str,
    has: Callable[[pa.Table], np.ndarray],
    dry_run: bool = False,
    single_writer: bool = False,
) -> int:
    """Remove images from an index, and return how many its lists had, readable or not.

    ``has``: which of N images (a table with the columns of IMAGES) to remove (N,); ``name``: of
    these images, the same for the same ones. An earlier call that was killed is finished first.
    Raises UserError unless the index is finished and undamaged.
    """
    index = open_index(url)
    store = Store(url, single_writer=single_writer or dry_run)
    earlier = 0
    if not dry_run:
        store.preflight()
        if journal := _pending(store):
            log.info(f"{url}: finishing a purge that was interrupted")
            earlier = _finish(store, journal)
            index = open_index(url)
    purging = Purging(store, name, has)
    try:
        if dry_run:
            return purged_plan(purging, _plan(index), writes=False).images
        journal = _prepare(index, purging)
    except DamagedPart as error:
        raise UserError(f"{url}: {error}; restore the file from a copy, or {REMEDY}") from error
    if journal is None:
        return earlier
    if not store.create(PURGE_JOURNAL, encode(asdict(journal))):
        journal = _pending(store) or journal
    return _finish(store, journal) + earlier


def _plan(index: Index) -> IndexPlan:
    plan = read_plan(index.shards.store)
    if plan is None:
        raise UserError(f"{index.url}: {PLAN} is missing; restore it from a copy, or {REMEDY}")
    return plan


def _prepare(index: Index, purging: Purging) -> IndexJournal | None:
    """Write all new files, and return what has to be put in place; None if nothing is purged.

    Raises DamagedPart or UserError.
    """
    plan = _plan(index)
    new = purged_plan(purging, plan)
    if not new.touched:
        return None
    commits = Commits(purging.store, COMMITS, plan.fingerprint, REMEDY)
    done = commits.done()
    failed = {item.id: "" for item in new.plan.items if item.id not in done}
    if lacking := failed.keys() - index.manifest.failed.keys():
        raise UserError(
            f"{index.url}: the images {min(lacking)} are not indexed yet; rerun the same memscan "
            "index-images first"
        )
    failed = {name: index.manifest.failed[name] for name in failed}
    found: list[Commit] = []
    texts: dict[str, str] = {}
    for commit in commits.of(item.id for item in new.plan.items if item.id in done):
        if commit.slice in new.touched:
            commit = purged_commit(purging, commit, index.record.dimension)
            name = commit_name(COMMITS, commit.slice, commit.generation)
            texts[name] = commit.to_json().decode()
        found.append(commit)
    manifest = manifest_of(new.plan, found, failed)
    record = replace(index.record, counts=manifest.counts)
    return IndexJournal(texts, new.plan.to_json().decode(), record, manifest, new.images)


def _pending(store: Store) -> IndexJournal | None:
    if not store.exists(PURGE_JOURNAL):
        return None
    data = store.read(PURGE_JOURNAL, LARGEST_BYTES)
    remedy = f"restore the index from a copy, or {REMEDY}"
    return decode(store.location(PURGE_JOURNAL), data, IndexJournal, remedy)


def _finish(store: Store, journal: IndexJournal) -> int:
    """Put the new files in place and remove the old ones; may be repeated."""
    for name, text in journal.commits.items():
        store.create(name, text.encode())
    store.write(PLAN, journal.plan.encode())
    seal(store, journal.record, journal.manifest)
    _remove_leftovers(store)
    return journal.removed


def _remove_leftovers(store: Store) -> None:
    """Remove what the new plan does not name, also what killed writers left; the journal last."""
    plan = read_plan(store)
    assert plan is not None, "written above"
    commits = Commits(store, COMMITS, plan.fingerprint, REMEDY)
    done = commits.done()
    newest = {item.id: done[item.id] for item in plan.items if item.id in done}
    named = {item.path for item in plan.items}
    named |= {part.path for commit in commits.of(newest) for part in commit.parts}
    named |= {commit_name(COMMITS, name, generation) for name, generation in newest.items()}
    for folder in (*NAMED, COMMITS):
        _remove(store, (name for name in store.names(folder) if name not in named))
    _remove(store, manifest_names(store)[:-1])
    store.remove_folder("preflight")
    store.remove_unfinished(older_than=0.0)
    store.remove(PURGE_JOURNAL)


def _remove(store: Store, names: Iterable[str]) -> None:
    for name in list(names):
        store.remove(name, missing_ok=True)  # an earlier call was faster
