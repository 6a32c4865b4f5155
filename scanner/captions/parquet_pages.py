"""What the pages of a Parquet column chunk come to, by their headers, before they are decoded.

The headers are Thrift structs in the compact protocol (parquet.thrift of apache/parquet-format).
A reader allocates what they say, whatever the file's footer says.
"""

import io
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from scanner.captions.limits import PAGE_BYTES

HEADER_BYTES = 1 << 16
LARGEST_HEADER = 16 << 20
# Of PageHeader: fields and types of pages. Encodings that refer to a dictionary, and one that
# spells a value by the one before it.
_TYPE, _SIZE, _STORED, _V1, _DICTIONARY, _V2 = 1, 2, 3, 5, 7, 8
_DICTIONARY_PAGE, _DATA_PAGES = 2, {0: _V1, 3: _V2}
_REFERS, _SHARES = (2, 8), 7


class Readable(Protocol):
    """What headers are read from."""

    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


class OverLimit(ValueError):
    """A row group exceeds a limit; the message says which."""


@dataclass(frozen=True)
class Pages:
    """``values``: how many there are, nulls included; ``bytes``: of all data pages; ``largest``: of
    the largest page, the dictionary included; ``densest``: bytes per value of the densest page;
    ``longest``: the longest value in the dictionary; ``all_refer``: every value stands in it;
    ``shares``: values are spelled by those before them, so that each can be as large as its page.
    """

    values: int = 0
    bytes: int = 0
    largest: int = 0
    densest: float = 0.0
    longest: int = 0
    all_refer: bool = True
    shares: bool = False


def start_of(chunk: Any) -> int:
    """Return where in the file a chunk begins."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return start


def pages_of(file: Readable, chunk: Any, fixed: int) -> Pages:
    """Read the headers of a chunk (``ColumnChunkMetaData``); ``fixed``: bytes of a value whose
    size is, else 0. Raises OverLimit for a page, and ValueError for a damaged header."""
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
    """Return the bytes of the longest value of a dictionary page of texts."""
    if codec != "UNCOMPRESSED":
        try:
            name = "lz4_raw" if codec == "LZ4" else codec.lower()
            page = pa.decompress(page, size, name, asbytes=True)
        except (pa.ArrowException, ValueError, OSError):
            return size  # LZ4 as Hadoop frames it, for one; damage is found by whoever decodes it
    longest = place = 0
    for _ in range(count):
        length = int.from_bytes(page[place : place + 4], "little")
        longest = max(longest, length)
        place += 4 + length
        if place >= len(page):
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
    if kind in (1, 2):  # a boolean is its type
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
