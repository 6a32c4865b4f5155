"""Input files cut and packed into units of reading, which are the same for every driver.

A long parquet file becomes several units, along its row groups; small files share one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scanner.captions.batch import Extent
from scanner.captions.columns import Columns
from scanner.run.records import decode, encode
from scanner.scan.plan.inputs import Input

PIECE_ROWS = 1 << 20
UNIT_BYTES = 64 << 20
UNIT_PIECES = 64


@dataclass(frozen=True)
class Piece:
    """A file, or an extent of a parquet file, with the columns to read, or why it is not read; an
    empty file has neither."""

    url: str
    is_reference: bool
    columns: Columns | None
    extent: Extent | None = None
    problem: str = ""


@dataclass(frozen=True)
class Unit:
    """What one task reads and commits whole."""

    id: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Reading:
    """All there is to read, the columns to carry along, and the files skipped: what drivers have to
    agree on."""

    keep: tuple[str, ...]
    units: tuple[Unit, ...]
    skipped: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return encode(asdict(self))

    @classmethod
    def from_json(cls, name: str, data: bytes) -> "Reading":
        return decode(name, data, cls)


def cut(inputs: Sequence[Input]) -> tuple[Unit, ...]:
    """The inputs in units, in their order."""
    units: list[list[Piece]] = []
    held = 0
    for item in inputs:
        for piece, size in _pieces(item):
            if not units or held + size > UNIT_BYTES or len(units[-1]) == UNIT_PIECES:
                units.append([])
                held = 0
            units[-1].append(piece)
            held += size
    return tuple(Unit(f"{number:06d}", tuple(unit)) for number, unit in enumerate(units))


def apart(unit: Unit) -> tuple[Unit, ...]:
    """The pieces of a unit, each in a unit of its own."""
    return tuple(
        Unit(f"{unit.id}-{number:02d}", (piece,)) for number, piece in enumerate(unit.pieces)
    )


def _pieces(item: Input) -> Iterator[tuple[Piece, int]]:
    """The pieces of a file, with about how many bytes each takes of it."""
    total = sum(item.row_groups)
    if total <= PIECE_ROWS:
        yield Piece(item.url, item.is_reference, item.columns, None, item.problem), item.bytes
        return
    first, start, rows = 0, 0, 0
    for number, size in enumerate(item.row_groups):
        rows += size
        last = number + 1 == len(item.row_groups)
        if last or rows + item.row_groups[number + 1] > PIECE_ROWS:
            extent = Extent(first, number + 1, start)
            piece = Piece(item.url, item.is_reference, item.columns, extent)
            yield piece, item.bytes * rows // total
            first, start, rows = number + 1, start + rows, 0
