"""From input files to a plan: samples, distinct captions and slices, written to the run."""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.grouping import DistinctCaptions
from scanner.errors import UserError
from scanner.run import Plan, Slice
from scanner.run.schema import CAPTIONS
from scanner.scan.inputs import Input
from scanner.scan.reading import InputReader
from scanner.storage import Store

SLICES_PER_FILE = 64


def make_plan(
    inputs: list[Input],
    store: Store,
    canonical: Callable[[str], str],
    slice_rows: Callable[[int], int],
    limit: int | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Plan:
    """Read the inputs, write samples, rejects and captions, and describe them.

    Files get unique names and count only once the plan that lists them is adopted. ``canonical``
    is the model's normalisation, ``slice_rows`` gives the slice size for a number of captions,
    ``progress`` hears the rows read so far. Memory does not grow with the data. Raises UserError
    where no caption is left.
    """
    name = uuid.uuid4().hex[:12]
    with tempfile.TemporaryDirectory() as folder:
        reader = InputReader(store, name, Path(folder), canonical, _keep(inputs), progress)
        for item in inputs:
            reader.read(item)
        reader.close()
        counts = reader.counts
        if counts["samples"] == 0:
            raise UserError(
                f"no captions in {', '.join(item.url for item in inputs[:3])}: {counts['rows']} "
                f"rows, {counts['rejects']} of them rejected {reader.first_reason}"
            )
        distinct = DistinctCaptions(reader.spellings.files, Path(folder), limit)
        total = distinct.count()
        rows = slice_rows(total)
        files, slices = write_captions(distinct.batches(rows), store, name, Path(folder), rows)
        distinct.close()
    return Plan(
        inputs=tuple(reader.files),
        samples=tuple(reader.samples.names),
        captions=tuple(files),
        rejects=tuple(reader.rejects.names),
        slices=tuple(slices),
        counts={**counts, "captions": total},
        columns={item.url: vars(item.columns) for item in inputs if item.columns},
    )


def _keep(inputs: list[Input]) -> tuple[str, ...]:
    return next(item.columns.keep for item in inputs if item.columns)


def write_captions(
    batches: Iterator[pa.RecordBatch], store: Store, name: str, folder: Path, rows: int
) -> tuple[list[str], list[Slice]]:
    """Write captions so that a slice is one row group; a file holds ``SLICES_PER_FILE`` of them."""
    names: list[str] = []
    slices: list[Slice] = []
    writer: pq.ParquetWriter | None = None
    local = folder / "captions"

    def finish() -> None:
        assert writer is not None
        writer.close()
        store.upload(local, names[-1])

    for batch in _exactly(batches, rows):
        if len(slices) % SLICES_PER_FILE == 0:
            if writer:
                finish()
            names.append(f"captions/{name}-{len(names):04d}.parquet")
            writer = pq.ParquetWriter(
                local, CAPTIONS, compression="zstd", use_dictionary=["is_reference"]
            )
        assert writer is not None
        writer.write_table(batch, row_group_size=rows)
        ids = batch["caption_id"]
        slices.append(
            Slice(f"{len(slices):06d}", names[-1], ids[0].as_py(), ids[-1].as_py(), len(batch))
        )
    finish()
    return names, slices


def _exactly(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly ``rows``, the last one shorter."""
    held = CAPTIONS.empty_table()
    for batch in batches:
        held = pa.concat_tables([held, pa.table(batch).cast(CAPTIONS)])
        while len(held) >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if len(held):
        yield held
