"""Measure the pages of a Parquet column chunk from their headers, without decoding them.

The headers are Thrift structs in the compact protocol (parquet.thrift of apache/parquet-format). A
reader allocates the sizes they declare, whatever the file's footer declares.
"""

import io
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from scanner.captions.limits import PAGE_BYTES

HEADER_BYTES = 1 << 16
LARGEST_HEADER = 16 << 20
# Fields and page types of PageHeader; encodings that refer to a dictionary, and the one that
# builds a value from the previous one.
_TYPE, _SIZE, _STORED, _V1, _DICTIONARY, _V2 = 1, 2, 3, 5, 7, 8
_DICTIONARY_PAGE, _DATA_PAGES = 2, {0: _V1, 3: _V2}
_REFERS, _SHARES = (2, 8), 7


class Readable(Protocol):
    """A seekable source of bytes."""

    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


class OverLimit(ValueError):
    """A row group exceeds a limit; the message states it."""


@dataclass(frozen=True)
class Pages:
    """Sizes of the pages of a column chunk.

    ``values``: number of values, including nulls; ``bytes``: total of all data pages; ``largest``:
    bytes of the largest page, including the dictionary; ``densest``: maximum bytes per value of a
    page; ``longest``: bytes of the longest dictionary value; ``all_refer``: all values are in the
    dictionary; ``shares``: values are built from earlier ones, so each can be as large as its page.
    """

    values: int = 0
    bytes: int = 0
    largest: int = 0
    densest: float = 0.0
    longest: int = 0
    all_refer: bool = True
    shares: bool = False


def start_of(chunk: Any) -> int:
    """Return the file offset of a chunk."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return start


def pages_of(file: Readable, chunk: Any, fixed: int) -> Pages:
    """Read the page headers of a chunk (``ColumnChunkMetaData``).

    ``fixed``: bytes per value for fixed-size types, else 0. Raises OverLimit for a page over the
    limit, and ValueError for a damaged header.
    """
    name = chunk.path_in_schema
    place = start_of(chunk)
    end = place + chunk.total_compressed_size
    values = total = largest = longest = 0
    densest, all_refer, shares = 0.0, True, False
    while place < end and values < chunk.num_values:
        header, length = _header(file, place, end)
        size, stored = _number(header, _SIZE), _number(header, _STORED)
        if size < 0 or stored < 0:
            raise ValueError(f"column {name}: a page of negative size")
        if size > PAGE_BYTES or stored > PAGE_BYTES:
            raise OverLimit(f"column {name}: a page of {size} bytes, more than {PAGE_BYTES}")
        largest = max(largest, size)
        kind = _number(header, _TYPE)
        if kind == _DICTIONARY_PAGE:
            dictionary = _fields(header, _DICTIONARY)
            file.seek(place + length)
            page = file.read(stored) if size and not fixed else b""
            longest = fixed or _longest(page, size, _number(dictionary, 1), chunk.compression)
        elif kind in _DATA_PAGES:
            page_header = _fields(header, _DATA_PAGES[kind])
            count = _number(page_header, 1)
            encoding = _number(page_header, 2 if kind == 0 else 4)
            values, total = values + count, total + size
            densest = max(densest, size / max(count, 1), fixed)
            all_refer &= encoding in _REFERS
            shares |= encoding == _SHARES
        place += length + stored
    return Pages(values, total, largest, densest, longest, all_refer, shares)


def _number(fields: dict[int, Any], name: int) -> int:
    value = fields.get(name, 0)
    if not isinstance(value, int):
        raise ValueError("a damaged page header")
    return value


def _fields(fields: dict[int, Any], name: int) -> dict[int, Any]:
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise ValueError("a damaged page header")
    return value


def _longest(page: bytes, size: int, count: int, codec: str) -> int:
    """Return the bytes of the longest text in a dictionary page."""
    if codec != "UNCOMPRESSED":
        try:
            name = "lz4_raw" if codec == "LZ4" else codec.lower()
            page = pa.decompress(page, size, name, asbytes=True)
        except (pa.ArrowException, ValueError, OSError):
            return size  # such as Hadoop's LZ4 framing; the decoder reports damage
    longest = offset = 0
    for _ in range(count):
        length = int.from_bytes(page[offset : offset + 4], "little")
        longest = max(longest, length)
        offset += 4 + length
        if offset >= len(page):
            break
    return min(longest, size)


def _header(file: Readable, place: int, end: int) -> tuple[dict[int, Any], int]:
    """Return the fields of a page header and its length."""
    size = HEADER_BYTES
    while True:
        file.seek(place)
        data = io.BytesIO(file.read(min(size, end - place)))
        try:
            return _struct(data), data.tell()
        except EOFError as error:
            if size >= min(LARGEST_HEADER, end - place):
                raise ValueError("a damaged page header") from error
            size = min(LARGEST_HEADER, size * 16)


def _struct(data: io.BytesIO, depth: int = 0) -> dict[int, Any]:
    """Return a struct's fields by number: integers, booleans and structs; others are skipped."""
    if depth > 8:
        raise ValueError("a damaged page header")
    fields: dict[int, Any] = {}
    number = 0
    while kind := _byte(data):
        delta, kind = kind >> 4, kind & 15
        number = number + delta if delta else _zigzag(data)
        fields[number] = _value(data, kind, depth)
    return fields


def _value(data: io.BytesIO, kind: int, depth: int) -> Any:
    if kind in (1, 2):  # a boolean's value is in its type
        return kind == 1
    if kind == 3:
        return _byte(data)
    if kind in (4, 5, 6):
        return _zigzag(data)
    if kind == 12:
        return _struct(data, depth + 1)
    if kind not in (7, 8):
        raise ValueError("a damaged page header")
    length = 8 if kind == 7 else _varint(data)
    if len(data.read(length)) < length:
        raise EOFError
    return None


def _byte(data: io.BytesIO) -> int:
    one = data.read(1)
    if not one:
        raise EOFError
    return one[0]


def _varint(data: io.BytesIO) -> int:
    value = shift = 0
    while True:
        byte = _byte(data)
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value
        if shift > 63:
            raise ValueError("a damaged page header")


def _zigzag(data: io.BytesIO) -> int:
    value = _varint(data)
    return (value >> 1) ^ -(value & 1)
