"""The input files of a plan, with their columns, packed into units of reading.

A long parquet file is split between row groups into several units; small files share one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scanner.captions.batch import Extent
from scanner.captions.columns import Columns
from scanner.run.records import decode, encode
from scanner.scan.plan.sizes import DEFAULT_SIZES, PlanSizes
from scanner.scan.plan.tiers import ScanOrder
from scanner.storage import Skipped


@dataclass(frozen=True)
class Input:
    """One input file, with the chosen columns, or the problem if it cannot be read.

    An empty file has neither. ``bytes``: stored size; ``row_groups``: rows of each row group of a
    parquet file.
    """

    url: str
    is_reference: bool
    columns: Columns | None
    problem: str = ""
    bytes: int = 0
    row_groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """The files of a training set and of its reference captions, and the files skipped."""

    files: tuple[Input, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)


@dataclass(frozen=True)
class Segment:
    """A file, or an extent of a parquet file, with the columns to read or the problem.

    An empty file has neither.
    """

    url: str
    is_reference: bool
    columns: Columns | None
    extent: Extent | None = None
    problem: str = ""


@dataclass(frozen=True)
class Unit:
    """The segments that one task reads and commits together."""

    id: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class FrozenInputs:
    """The units to read, the columns to copy to samples, and the skipped files.

    ``names_column``: whether samples have the name of their caption's column; ``order``: of the
    slices; ``by_images``: whether their order also depends on how often images are repeated. Stored
    by the first driver for all others.
    """

    keep: tuple[str, ...]
    units: tuple[Unit, ...]
    skipped: dict[str, Any] = field(default_factory=dict)
    names_column: bool = False
    order: ScanOrder = "id"
    by_images: bool = False

    def to_json(self) -> bytes:
        return encode(asdict(self))

    @classmethod
    def from_json(cls, name: str, data: bytes) -> "FrozenInputs":
        return decode(name, data, cls)


def pack_units(inputs: Sequence[Input], sizes: PlanSizes = DEFAULT_SIZES) -> tuple[Unit, ...]:
    """Pack the inputs into units, in order."""
    units: list[list[Segment]] = []
    held = 0
    for item in inputs:
        for segment, size in _segments(item, sizes.segment_rows):
            is_full = units and len(units[-1]) == sizes.unit_segments
            if not units or is_full or held + size > sizes.unit_bytes:
                units.append([])
                held = 0
            units[-1].append(segment)
            held += size
    return tuple(Unit(f"{number:06d}", tuple(unit)) for number, unit in enumerate(units))


def split_unit(unit: Unit) -> tuple[Unit, ...]:
    """Return one unit per segment of a unit."""
    return tuple(
        Unit(f"{unit.id}-{number:02d}", (segment,)) for number, segment in enumerate(unit.segments)
    )


def _segments(item: Input, most_rows: int) -> Iterator[tuple[Segment, int]]:
    """Yield the segments of a file, with their approximate sizes in bytes."""
    total = sum(item.row_groups)
    if total <= most_rows:
        yield Segment(item.url, item.is_reference, item.columns, None, item.problem), item.bytes
        return
    first, start, rows = 0, 0, 0
    for number, size in enumerate(item.row_groups):
        rows += size
        last = number + 1 == len(item.row_groups)
        if last or rows + item.row_groups[number + 1] > most_rows:
            extent = Extent(first, number + 1, start)
            segment = Segment(item.url, item.is_reference, item.columns, extent)
            yield segment, item.bytes * rows // total
            first, start, rows = number + 1, start + rows, 0
