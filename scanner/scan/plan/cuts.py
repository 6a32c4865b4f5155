"""Staged parts: rows sorted by an id, in cuts that can be read and decoded separately.

The id is the first column: of a caption, or of an image. A cut holds the ids of an equal share of
the part's ids: a header (stored bytes, bytes of the message, CRC-32 of what is stored), then one
Arrow IPC record batch, compressed whole with zstd. Consecutive cuts are one byte range. Empty cuts
take no bytes.
"""

import hashlib
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scanner.captions.identity import DIGITS
from scanner.run import Output
from scanner.run.json_files import MOST_CUTS
from scanner.run.records import DamagedFile, Part
from scanner.scan.plan.sizes import PlanSizes
from scanner.scan.plan.spellings import SPELLINGS
from scanner.storage import Store

IDS = 16**DIGITS
# Of a caption that counts towards the bytes of a range.
LONG_BYTES = 4096
# Of one cut, far above any that planning writes.
CUT_BYTES = 1 << 30
# Parts that are read at a time, and their stored bytes, unless one has more.
READERS, READ_BYTES = 8, 128 << 20
_HEADER = struct.Struct("<III")
_CODEC = pa.Codec("zstd", compression_level=3)


@dataclass(frozen=True)
class ByteRange:
    """Consecutive cuts of a staged part: its bytes from ``start`` to ``end``, exclusive."""

    path: str
    start: int
    end: int


@dataclass(frozen=True)
class IdRange:
    """The ids from ``first`` to ``last``, inclusive, and where to read them.

    ``staged``: cuts that hold all staged rows of these ids, and possibly of neighboring ids;
    ``earlier``: captions files of earlier plans that may hold these ids; ``repeats``: of caption
    ids, cuts with how often their images are repeated.
    """

    id: str
    first: str
    last: str
    staged: tuple[ByteRange, ...] = ()
    earlier: tuple[str, ...] = ()
    repeats: tuple[ByteRange, ...] = ()


@dataclass(frozen=True)
class StagedPart:
    """A staged part: the ids from ``first`` to ``end``, exclusive, as numbers.

    ``rows``: number of rows; ``long_bytes``: total size of long captions; ``cuts``: stored
    bytes of each cut.
    """

    path: str
    rows: int
    long_bytes: int
    first: int
    end: int
    cuts: tuple[int, ...]

    def find(self, first: int, end: int) -> ByteRange | None:
        """Return the fewest cuts that hold the ids from ``first`` to ``end``, None without any."""
        low, high = max(first, self.first), min(end, self.end)
        if low >= high:
            return None
        size = self.end - self.first
        start = (low - self.first) * len(self.cuts) // size
        stop = -(-(high - self.first) * len(self.cuts) // size)
        offset, length = sum(self.cuts[:start]), sum(self.cuts[start:stop])
        return ByteRange(self.path, offset, offset + length) if length else None


@dataclass(frozen=True)
class StagedOutput(Output):
    """Rows sorted by id, with ids from ``first`` to ``end``, exclusive, as numbers.

    ``count``: number of cuts. Writing the part adds the stored bytes of its cuts to ``cuts``.
    """

    first: int = 0
    end: int = IDS
    count: int = 1
    cuts: list[int] = field(default_factory=list)

    def write(self, store: Store, name: str) -> Part:
        cuts = _split(self.table, self.first, self.end, self.count)
        stored = [_encode(cut) if cut.num_rows else b"" for cut in cuts]
        self.cuts.extend(map(len, stored))
        path, content = f"{self.kind}/{name}.cuts", b"".join(stored)
        store.write(path, content)
        sha256 = hashlib.sha256(content).hexdigest()
        return Part(self.kind, path, self.table.num_rows, sha256, len(content))


def stage(
    kind: str,
    rows: pa.Table,
    sizes: PlanSizes,
    notes: list[dict[str, Any]],
    first: int = 0,
    end: int = IDS,
) -> Iterator[StagedOutput]:
    """Yield the part with these rows, none without any, and describe it in ``notes``.

    ``rows``: sorted by id, with ids from ``first`` to ``end``, exclusive.
    """
    if not len(rows):
        return
    record: dict[str, Any] = {"cuts": [], "long_bytes": _long_bytes(rows)}
    notes.append(record)
    number, size = len(rows) // sizes.staged_rows, rows.nbytes // sizes.staged_bytes
    count = min(MOST_CUTS, 1 << (max(number, size, 1).bit_length() - 1))
    yield StagedOutput(kind, rows, None, first, end, count, record["cuts"])


def _long_bytes(rows: pa.Table) -> int:
    """Return the size of long captions, 0 for rows without captions."""
    if "caption" not in rows.column_names:
        return 0
    lengths = pc.binary_length(rows["caption"])
    return 2 * (pc.sum(lengths.filter(pc.greater(lengths, LONG_BYTES))).as_py() or 0)


def id_of(number: int) -> str:
    """Return an id from its number."""
    return f"{number:0{DIGITS}x}"


def read_cuts(store: Store, item: IdRange, schema: pa.Schema = SPELLINGS) -> Iterator[pa.Table]:
    """Yield the staged rows of a range of ids: one table per part, read by one request.

    Several parts are read at a time, since a store has high latency. Raises DamagedFile.
    """

    def read(source: ByteRange) -> pa.Table:
        data = store.read_range(source.path, source.start, source.end)
        batches = [_within(batch, item) for batch in _decode(store, source, data, schema)]
        return pa.Table.from_batches(batches, schema)

    with ThreadPoolExecutor(READERS) as threads:
        for sources in _batches(item.staged):
            yield from threads.map(read, sources)


def _batches(sources: Sequence[ByteRange]) -> Iterator[Sequence[ByteRange]]:
    """Yield the sources in batches to read at a time: rows of one id can fill whole parts."""
    start = size = 0
    for number, source in enumerate(sources):
        size += source.end - source.start
        if number - start == READERS or (number > start and size > READ_BYTES):
            yield sources[start:number]
            start, size = number, source.end - source.start
    yield sources[start:]


def _split(table: pa.Table, first: int, end: int, count: int) -> Iterator[pa.Table]:
    """Yield the rows of each of ``count`` equal intervals of ids."""
    ids = table.column(0).combine_chunks()
    bounds = [
        # The first id of the interval whose share of the cuts, rounded down, is ``cut``.
        id_of(first - (first - end) * cut // count) if cut < count else "g"
        for cut in range(count + 1)
    ]
    places = [bisect_left(ids, bound, key=_text) for bound in bounds]
    for start, stop in pairwise(places):
        yield table.slice(start, stop - start)


def _within(batch: pa.RecordBatch, item: IdRange) -> pa.RecordBatch:
    """Return the rows with an id in the range; copies nothing if all have."""
    ids = batch.column(0)
    inside = pc.and_(pc.greater_equal(ids, item.first), pc.less_equal(ids, item.last))
    return batch if pc.all(inside, skip_nulls=False).as_py() else batch.filter(inside)


def _text(scalar: Any) -> str:
    return scalar.as_py()


def _encode(cut: pa.Table) -> bytes:
    (batch,) = cut.combine_chunks().to_batches()
    message = batch.serialize()
    stored = _CODEC.compress(message, asbytes=True)
    return _HEADER.pack(len(stored), len(message), zlib.crc32(stored)) + stored


def _decode(
    store: Store, source: ByteRange, data: bytes, schema: pa.Schema = SPELLINGS
) -> list[pa.RecordBatch]:
    """Return the rows of consecutive cuts, one batch each.

    Raises DamagedFile, whatever the bytes are.
    """
    batches, offset = [], 0
    try:
        if len(data) != source.end - source.start:
            raise ValueError(f"{len(data)} of {source.end - source.start} bytes")
        while offset < len(data):
            size, raw, checksum = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            stored = memoryview(data)[offset : offset + size]
            offset += size
            if raw > CUT_BYTES or len(stored) != size or zlib.crc32(stored) != checksum:
                raise ValueError("size or checksum of a cut")
            batch = pa.ipc.read_record_batch(_CODEC.decompress(stored, raw), schema)
            batch.validate(full=True)  # the format itself checks no offset
            batches.append(batch)
    except (ValueError, OSError, EOFError, struct.error) as error:  # Arrow raises the first three
        folder = source.path.rpartition("/")[0].rpartition("/")[0]
        raise DamagedFile(
            store.location(source.path),
            f"bytes {source.start} to {source.end}: {error}",
            f"remove {store.location(folder)} and rerun the same memscan scan, which reads the "
            "input again",
        ) from error
    return batches
