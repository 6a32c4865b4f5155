"""Read the table of a committed part in bounded memory, whatever its bytes decompress to.

A few kilobytes of Parquet can hold gigabytes: compressed pages, long texts that a dictionary
repeats, long lists of one value. The footer is compared with the commit before anything is read.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.run.records import Part
from scanner.run.results import DamagedPart, read_part
from scanner.storage import Store

# Far above the rows of any profile, which take up to some kilobytes.
ROW_BYTES = 16 << 10
TABLE_BYTES = 1 << 20
# Per value other than text; list offsets are counted as values.
VALUE_BYTES = 8
# Others, which memscan does not write, repeat parts of texts.
ENCODINGS = {"PLAIN", "RLE", "BIT_PACKED", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}


def read_part_table(store: Store, part: Part) -> pa.Table:
    """Return the table of a part, which was checked against its checksum.

    Raises DamagedPart, naming the part, if it is missing or changed, is not a Parquet file, has
    other rows than its commit says, or would take more than ROW_BYTES per row in memory.
    """
    parquet, groups = read_part_groups(store, part)
    return pa.concat_tables([parquet.schema_arrow.empty_table(), *groups])


def read_part_groups(
    store: Store, part: Part, table_bytes: int = TABLE_BYTES
) -> tuple[pq.ParquetFile, list[pa.Table]]:
    """Return a part, opened, and the tables of its row groups, checked as by
    :func:`read_part_table`.

    ``table_bytes``: allowed in addition to ROW_BYTES per row, for tables with a few long texts.
    """
    data = pa.BufferReader(read_part(store, part))
    most = table_bytes + ROW_BYTES * part.rows
    try:
        _check_footer(pq.read_metadata(data), part, most)
        return pq.ParquetFile(data), list(_bounded_groups(data, part, most))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedPart(f"{part.path} is damaged (not readable as Parquet: {error})") from error


def _check_footer(footer: pq.FileMetaData, part: Part, most: int) -> None:
    if footer.num_rows != part.rows:
        raise DamagedPart(
            f"{part.path} is damaged (it has {footer.num_rows:,} rows, its commit says "
            f"{part.rows:,})"
        )
    size = 0
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            if not ENCODINGS.issuperset(chunk.encodings):
                names = ", ".join(sorted(set(chunk.encodings) - ENCODINGS))
                raise DamagedPart(f"{part.path} is damaged (encoded as {names})")
            size += max(chunk.total_uncompressed_size, VALUE_BYTES * chunk.num_values)
    _check_size(size, part, most)


def _check_size(size: int, part: Part, most: int) -> None:
    if size > most:
        raise DamagedPart(
            f"{part.path} is damaged (it takes {size:,} bytes in memory, over {most:,} for "
            f"{part.rows:,} rows)"
        )


def _bounded_groups(data: pa.BufferReader, part: Part, most: int) -> Iterator[pa.Table]:
    """Yield the row groups; before each, compute the size of texts that a dictionary may repeat."""
    plain = pq.ParquetFile(data)
    size = 0
    for number in range(plain.num_row_groups):
        group = plain.metadata.row_group(number)
        for chunk in map(group.column, range(group.num_columns)):
            is_text = chunk.physical_type == "BYTE_ARRAY"
            if is_text and chunk.num_values * chunk.total_uncompressed_size > TABLE_BYTES:
                name = chunk.path_in_schema
                encoded = pq.ParquetFile(data, read_dictionary=[name])
                size += sum(map(_text_bytes, encoded.read_row_group(number, [name]).columns))
                _check_size(size, part, most)
        table = plain.read_row_group(number)
        _check_size(table.nbytes, part, most)
        yield table


def _text_bytes(array: pa.Array | pa.ChunkedArray) -> int:
    """Return the bytes of all texts in an array whose texts are dictionary-encoded."""
    if isinstance(array, pa.ChunkedArray):
        return sum(map(_text_bytes, array.chunks))
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary)
        return pc.sum(lengths.take(array.indices).cast(pa.int64())).as_py() or 0
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return _text_bytes(array.flatten())
    if pa.types.is_struct(array.type):
        return sum(map(_text_bytes, array.flatten()))
    return 0
