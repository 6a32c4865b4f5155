"""A parquet file without some of its rows: same schema, metadata and compression."""

from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Pictures that repeat are stored once a row group where the file they come from does so.
DICTIONARY_BYTES = 1 << 26


def clean_parquet(source: Path, target: Path, removed: Set[int]) -> None:
    """Write ``target``, a row group at a time; a row group that loses every row goes."""
    parquet = pq.ParquetFile(source)
    gone = np.array(sorted(removed), np.int64)
    first = 0
    with pq.ParquetWriter(target, parquet.schema_arrow, **_options(parquet.metadata)) as writer:
        for group in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            keep = np.ones(rows, bool)
            keep[gone[slice(*np.searchsorted(gone, [first, first + rows]))] - first] = False
            first += rows
            if keep.any():
                table = parquet.read_row_group(group)
                table = table if keep.all() else table.filter(pa.array(keep))
                writer.write_table(table, row_group_size=max(1, len(table)))


def _options(metadata: pq.FileMetaData) -> dict[str, Any]:
    """What the file was written with, as far as it says so."""
    stored = metadata.metadata or {}
    options: dict[str, Any] = {
        "version": metadata.format_version,
        "store_schema": b"ARROW:schema" in stored,
        "use_compliant_nested_type": False,  # else elements of lists are renamed
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
    }
    if metadata.num_row_groups == 0 or metadata.num_columns == 0:
        return options
    group = metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    options["compression"] = {
        column.path_in_schema: _codec(column.compression) for column in columns
    }
    options["use_dictionary"] = [
        column.path_in_schema for column in columns if column.has_dictionary_page
    ]
    options["use_deprecated_int96_timestamps"] = any(
        column.physical_type == "INT96" for column in columns
    )
    return options


def _codec(name: str) -> str:
    return "none" if name == "UNCOMPRESSED" else name.lower()
