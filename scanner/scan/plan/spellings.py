"""Spellings: the captions of a training set as they are written, with their counts."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.run.schema import CAPTIONS, column
from scanner.scan.plan.staged_rows import StagedRows

SPELLINGS = pa.schema([*CAPTIONS, column("n", pa.int64(), "number of samples with this spelling")])


def merge_spellings(spellings: list[pa.Table]) -> pa.Table:
    """Merge equal rows of several tables into one table, sorted by caption_id; empties the list.

    Copies one column at a time and releases its source, since long captions fill a chunk.
    """
    rows = pa.concat_tables(spellings)
    spellings.clear()
    names = ["caption_id", "is_reference", "caption"]
    # Brings equal rows together.
    order = pc.sort_indices(rows, [(name, "ascending") for name in names])
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    repeats = np.ones(max(0, len(order) - 1), bool)
    for name in names:
        values = columns[name] = rows[name].take(order)
        rows = rows.drop_columns(name)
        repeats &= pc.equal(values[1:], values[:-1]).to_numpy()
    first = np.flatnonzero(np.append(True, ~repeats)[: len(order)])
    if len(first) < len(order):
        columns = {name: values.take(pa.array(first)) for name, values in columns.items()}
    counts = rows["n"].to_numpy()[order.to_numpy()]
    columns["n"] = pa.array(np.add.reduceat(counts, first) if len(first) else counts)
    columns["canonical"] = rows["canonical"].take(order.take(pa.array(first)))
    return pa.table([columns[name] for name in SPELLINGS.names], schema=SPELLINGS)


SPELLING_ROWS = StagedRows("spellings", "merge", SPELLINGS, merge_spellings)
