"""Search an index on a pool of actors: each item compares all queries with some shards."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from scanner.cluster import (
    Committed,
    Event,
    InProcess,
    Notice,
    Quarantined,
    Requeued,
    Resources,
    Result,
    Started,
    execute,
    may_run_in_process,
    report,
)
from scanner.cluster.broken_devices import raise_broken_devices
from scanner.errors import UserError
from scanner.evidence.index.index_files import Index
from scanner.evidence.index.search import Shards, nearest_of, search
from scanner.models.device.gpu_share import keep_to_share
from scanner.run import Commits, Output
from scanner.run.part_tables import read_part_table
from scanner.run.records import Part
from scanner.run.results import DamagedPart
from scanner.storage import Store

log = logging.getLogger("memscan.index")

KIND = "nearest"
# Bytes of shards that are searched and committed together, and up to which no pool is started.
ITEM_BYTES = 1 << 30
IN_PROCESS_BYTES = 2 << 30
REMEDY = "remove it and rerun the same memscan verify, which searches again"


@dataclass(frozen=True)
class SearchItem:
    """Consecutive shards of an index."""

    id: str
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class SearchWork:
    """Picklable factory of an actor's work: the index, the queries and the device."""

    store: Store
    dimension: int
    queries_QD: np.ndarray
    top: int
    device: str
    threads: int
    gpu_share: float

    def __call__(self) -> "_Searcher":
        if self.device == "cpu":
            torch.set_num_threads(self.threads)
        keep_to_share(self.device, self.gpu_share)
        return _Searcher(self)


@dataclass(frozen=True)
class _Searcher:
    """The work (scanner.cluster.Work)."""

    how: SearchWork

    def prepare(self, item: SearchItem) -> Shards:
        return Shards(self.how.store, item.parts, self.how.dimension)

    def compute(self, prepared: Shards) -> pa.Table:
        how = self.how
        with raise_broken_devices():
            return search(prepared, how.queries_QD, how.top, how.device, report)

    def finish(self, computed: pa.Table) -> Result:
        return Result([Output(KIND, computed)])


def search_on_pool(
    index: Index,
    queries_QD: np.ndarray,
    top: int,
    out: Store,
    device: str,
    resources: Resources,
    address: str | None,
    progress: Callable[[int, int], None],
) -> pa.Table:
    """Return the ``top`` images of an index nearest to each query (search.NEAREST).

    Each item's result is committed to ``out``, so the same call resumes. A small index is searched
    in this process. ``progress``: called with the images compared so far, and all images. Raises
    UserError if some shards cannot be searched.
    """
    items = _items(index)
    name = _digest(index, queries_QD, top)
    commits = Commits(out, f"sources/{name}/commits", name, REMEDY)
    work = SearchWork(
        index.shards.store,
        index.record.dimension,
        queries_QD,
        top,
        device,
        resources.threads,
        resources.gpus,
    )
    is_alone = may_run_in_process(resources.actors, address)
    outcome = execute(
        commits,
        items,
        work,
        resources,
        address=address,
        in_process=InProcess[SearchItem](
            lambda left: is_alone and sum(item.bytes for item in left) <= IN_PROCESS_BYTES
        ),
        on_event=_Searching(index, progress),
    )
    if outcome.failed:
        why = next(iter(outcome.failed.values()))
        raise UserError(f"{index.url}: cannot be searched: {why}; rerun the same command")
    try:
        tables = [
            read_part_table(out, part)
            for commit in commits.of(item.id for item in items)
            for part in commit.parts
        ]
    except DamagedPart as error:
        raise UserError(f"{out.url}: {error}; remove {out.url}/sources and rerun") from error
    return nearest_of(tables, top)


def _items(index: Index) -> list[SearchItem]:
    groups: list[list[Part]] = []
    size = ITEM_BYTES
    for part in index.manifest.shards:
        if size >= ITEM_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.bytes
    return [SearchItem(f"{number:06d}", tuple(parts)) for number, parts in enumerate(groups)]


def _digest(index: Index, queries_QD: np.ndarray, top: int) -> str:
    """Return a name for all that the result depends on."""
    hashed = hashlib.sha256(f"{top} {index.digest}".encode())
    hashed.update(np.ascontiguousarray(queries_QD, np.float32).tobytes())
    return hashed.hexdigest()[:16]


class _Searching:
    """Follows the events of a search: logs them and reports progress."""

    def __init__(self, index: Index, progress: Callable[[int, int], None]) -> None:
        self.index, self.progress = index, progress
        self._done = index.images

    def __call__(self, event: Event[SearchItem]) -> None:
        if isinstance(event, Started):
            self._done -= sum(part.rows for item in event.items for part in item.parts)
        elif isinstance(event, Committed):
            self._done += sum(part.rows for part in event.item.parts)
            self.progress(self._done, self.index.images)
        elif isinstance(event, Requeued | Quarantined):
            log.warning(f"searching shards {event.item.id}: {event.reason}")
        elif isinstance(event, Notice):
            log.info(event.message)
