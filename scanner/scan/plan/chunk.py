"""Convert rows of input files to samples, rejects and spellings of captions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.captions.batch import Batch
from scanner.captions.columns import Columns
from scanner.captions.identity import caption_ids
from scanner.captions.limits import CAPTION_BYTES, OVER
from scanner.captions.values import as_text, captions, first_valid
from scanner.run import Output
from scanner.run.schema import column, rejects_table, samples_schema
from scanner.scan.plan.cuts import stage
from scanner.scan.plan.inputs import Segment
from scanner.scan.plan.sizes import DEFAULT_SIZES, PlanSizes
from scanner.scan.plan.spellings import SPELLINGS, merge_spellings

STATUS_CHARACTERS = 200
COUNTS = ("rows", "pairs", "samples", "rejects", "not_downloaded")
Canonical = Callable[[str], str]


def unreadable_reject(url: str, problem: str) -> pa.Table:
    """Return the reject for the unreadable rest of a file."""
    return rejects_table("plan", [f"unreadable file: {problem}"], url)


@dataclass
class Chunk:
    """Rows that are read but not yet written; each caption column of a row gives a sample."""

    keep: tuple[str, ...]
    sizes: PlanSizes = DEFAULT_SIZES
    names_column: bool = False
    samples: list[pa.Table] = field(default_factory=list)
    spellings: list[pa.Table] = field(default_factory=list)
    rejects: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Return whether to write the chunk before adding more."""
        return self.rows >= self.sizes.chunk_rows or self.bytes >= self.sizes.chunk_bytes

    def add(
        self, segment: Segment, batch: Batch, counts: dict[str, int], canonical: Canonical
    ) -> None:
        """Add a batch of a segment, and its counts to ``counts``."""
        columns = segment.columns
        assert columns is not None
        text = {name: as_text(batch.columns[name]) for name in columns.carried}
        failed = _not_downloaded(batch, columns)
        samples, spellings, rejects = [], [], []
        rejected = 0
        for name in columns.captions:
            texts, reasons = _captions(batch, columns, name)
            for other, values in text.items():
                _reject_long(other, values, reasons)
            reasons |= failed
            ids, found = _identify(texts, segment.is_reference, reasons, canonical)
            samples.append(self._samples(segment, name, ids, batch.rows, text))
            spellings.append(found)
            if columns.more_captions:
                reasons = {at: f"{why}: column {name}" for at, why in reasons.items()}
            rejects += _rejects(segment, batch, reasons, text)
            rejected += len(reasons) + len(batch.bad)
        # Nothing below can fail: a batch is added as a whole or not at all.
        self.samples += samples
        self.spellings += spellings
        self.rejects += rejects
        rows = len(batch.rows) + len(batch.bad)
        counts["rows"] += rows
        counts["pairs"] += rows * len(columns.captions)
        counts["samples"] += rows * len(columns.captions) - rejected
        counts["rejects"] += rejected
        counts["not_downloaded"] += len(failed) * len(columns.captions)
        self.rows += rows * len(columns.captions)
        self.bytes += sum(table.nbytes for table in (*samples, *spellings, *rejects))

    def outputs(self, staged: str, notes: list[dict[str, Any]]) -> Iterator[Output]:
        """Yield the tables to write, and release the spellings.

        ``staged``: the kind of parts with spellings, which are described in ``notes``.
        """
        if self.samples:
            yield Output("samples", pa.concat_tables(self.samples))
        if self.rejects:
            yield Output("rejects", pa.concat_tables(self.rejects))
        if self.spellings:
            yield from stage(staged, merge_spellings(self.spellings), self.sizes, notes)

    def _samples(
        self,
        segment: Segment,
        caption: str,
        ids: pa.StringArray,
        rows: Sequence[int],
        text: dict[str, pa.StringArray],
    ) -> pa.Table:
        """Return the samples of one caption column."""
        columns = segment.columns
        assert columns is not None
        nothing = pa.nulls(len(ids), pa.string())
        # Column names may differ in case between files; the first file's spelling is used.
        kept_text = {name.lower(): text[name] for name in columns.keep}
        kept = [column(name, pa.string(), "kept from the input, as text") for name in self.keep]
        table = pa.table(
            [
                ids,
                pa.repeat(pa.scalar(segment.url), len(ids)),
                pa.array(rows, pa.int64()),
                text[columns.key] if columns.key else nothing,
                text[columns.image_key] if columns.image_key else nothing,
                *(kept_text.get(name.lower(), nothing) for name in self.keep),
                *([pa.repeat(pa.scalar(caption), len(ids))] if self.names_column else []),
                pa.repeat(pa.scalar(segment.is_reference), len(ids)),
            ],
            schema=samples_schema(kept, self.names_column),
        )
        return table if ids.null_count == 0 else table.filter(ids.is_valid())


def _identify(
    texts: pa.StringArray,
    is_reference: bool,
    reasons: dict[int, str],
    canonical: Canonical,
) -> tuple[pa.StringArray, pa.Table]:
    """Return the ids of captions, null for those with a reason to reject them, and the spellings
    of the others.

    Empty captions are given a reason.
    """
    is_good = np.ones(len(texts), bool)
    is_good[list(reasons)] = False
    # Filter only if needed: copies of long texts use much memory.
    encoded = (texts.filter(pa.array(is_good)) if reasons else texts).dictionary_encode()
    spelling = encoded.indices.to_numpy()
    # Normalize each spelling in a batch once.
    canon = [canonical(text) for text in encoded.dictionary.to_pylist()]
    is_filled = np.array([bool(text) for text in canon], bool)
    ids = caption_ids(canon)
    positions = np.flatnonzero(is_good)
    for position in positions[~is_filled[spelling]].tolist():
        reasons[position] = "empty caption"
    table = pa.table(
        [
            ids,
            encoded.dictionary,
            pa.array(canon, pa.string()),
            pa.repeat(pa.scalar(is_reference), len(ids)),
            pa.array(np.bincount(spelling, minlength=len(ids))),
        ],
        schema=SPELLINGS,
    )
    id_index = np.zeros(len(texts), np.int32)
    id_index[positions] = spelling
    is_null = np.ones(len(texts), bool)
    is_null[positions] = ~is_filled[spelling]
    spellings = table if is_filled.all() else table.filter(pa.array(is_filled))
    return ids.take(pa.array(id_index, mask=is_null)), spellings


def _rejects(
    segment: Segment, batch: Batch, reasons: dict[int, str], text: dict[str, pa.StringArray]
) -> list[pa.Table]:
    """Return a list with the table of a batch's rejects, [] without rejects."""
    assert segment.columns is not None
    keys = text[segment.columns.key] if segment.columns.key else None
    rows: list[tuple[int | None, str | None, str]] = [
        (batch.rows[position], keys[position].as_py() if keys is not None else None, reason)
        for position, reason in sorted(reasons.items())
    ]
    rows += [(row, None, reason) for row, reason in batch.bad]
    if not rows:
        return []
    numbers, names, why = zip(*rows, strict=True)
    return [rejects_table("plan", why, segment.url, row=numbers, key=names)]


def _captions(batch: Batch, columns: Columns, column: str) -> tuple[pa.StringArray, dict[int, str]]:
    """Return the captions of a batch in one caption column, and the reasons to reject rows, by
    position."""
    values = batch.columns[column]
    fallback = columns.fallback if column == columns.caption else None
    if fallback:
        values = first_valid(values, batch.columns[fallback])
    texts, reasons = captions(values)
    others = {columns.fallback, *columns.captions} - {column, fallback}
    for position, (name, why) in batch.over.items():
        if name in others or (name == fallback and position not in reasons):
            continue  # the row has this caption without it
        is_caption = name in (column, fallback)
        reasons[position] = f"{'caption' if is_caption else name} {why}"
    return texts, reasons


def _reject_long(name: str, text: pa.StringArray, reasons: dict[int, str]) -> None:
    """Add a reason to reject rows whose value is too long as text."""
    long = pc.greater(pc.binary_length(text), CAPTION_BYTES).fill_null(False)
    if pc.any(long).as_py():
        for position in np.flatnonzero(long.to_numpy(zero_copy_only=False)).tolist():
            reasons.setdefault(position, f"{name} {OVER}")


def _not_downloaded(batch: Batch, columns: Columns) -> dict[int, str]:
    """Return the reasons to reject rows whose image img2dataset failed to download.

    No model was trained on them.
    """
    if columns.status is None:
        return {}
    status = as_text(batch.columns[columns.status])
    failed = pc.not_equal(status, "success").fill_null(True)
    positions = np.flatnonzero(failed.to_numpy(zero_copy_only=False)).tolist()
    return {
        position: f"not downloaded: {str(status[position].as_py())[:STATUS_CHARACTERS]}"
        for position in positions
    }
