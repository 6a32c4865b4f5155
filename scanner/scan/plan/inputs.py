"""Choose the input files and their columns, and pack them into units of reading.

A long parquet file is split between row groups into several units; small files share one.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import pydantic

from scanner.captions.batch import Contents, Extent
from scanner.captions.columns import NONE, ColumnOptions, Columns, resolve_all
from scanner.captions.formats import inspect, why_not_read
from scanner.captions.records import QuotingOption
from scanner.captions.sidecars import ABOUT_TAR, IN_TABLE, reads_table, table_beside
from scanner.errors import UserError
from scanner.run import Plan
from scanner.run.records import decode, encode
from scanner.scan.config import ScanConfig
from scanner.scan.plan.sizes import DEFAULT_SIZES, PlanSizes
from scanner.scan.plan.tiers import ScanOrder
from scanner.storage import Listing, Skipped

READERS = 16


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


def choose_inputs(config: ScanConfig, earlier: Sequence[Plan] = ()) -> Inputs:
    """Return the input files and their columns, without the files of ``earlier`` plans.

    A file that cannot be read, or has no caption column, is listed with its problem. Raises
    UserError if nothing matches or no file can be read, and as :func:`resolve_all` does.
    """
    if config.captions_from:
        return Inputs()
    listing = Listing()
    listing.leave_out(item["url"] for plan in earlier for item in plan.inputs if "url" in item)
    # Columns of earlier files may be missing in all added files.
    earlier_columns = [one for plan in earlier for one in plan.columns.values()]
    named = ((one["key"], one["image_key"], *one["keep"]) for one in earlier_columns)
    known = {name for names in named for name in names if name}
    first, *more = config.caption_column or (None,)
    options = ColumnOptions(
        first,
        config.key_column,
        config.image_key,
        config.keep,
        frozenset(known),
        tuple(filter(None, more)),
    )
    inputs: list[Input] = []
    for is_reference, urls in ((False, config.captions), (True, config.reference)):
        files = listing.add(urls, why_not_read)
        contents = _inspect_all(files, config.quoting, listing.skipped)
        inputs += _resolve(contents, options, is_reference, listing.files)
    if inputs and not any(not item.problem and not item.is_reference for item in inputs):
        problems = "; ".join(f"{item.url}: {item.problem}" for item in inputs[:3])
        raise UserError(f"no input file can be read: {problems}")
    return Inputs(tuple(inputs), listing.skipped)


def _inspect_all(
    urls: Sequence[str], quoting: QuotingOption, skipped: Skipped
) -> dict[str, Contents | UserError]:
    """Inspect the files; of a table and a tar of the same name, only the one that is read.

    The error stands for a file that cannot be read.
    """
    tables = {tar: table for tar in urls if (table := table_beside(tar)) in set(urls)}
    contents = _inspect([url for url in urls if url not in tables], quoting)

    def choose(tar: str) -> bool | None:
        table, one = tables[tar], contents[tables[tar]]
        if isinstance(one, UserError):
            return None
        return reads_table(table, one.columns, tar)

    with ThreadPoolExecutor(READERS) as threads:
        choices = dict(zip(tables, threads.map(choose, tables), strict=True))
    for tar, is_table in choices.items():
        if is_table:
            skipped.add(IN_TABLE, tar)
        elif is_table is not None:
            skipped.add(ABOUT_TAR, tables[tar])
            del contents[tables[tar]]
    contents |= _inspect([tar for tar, is_table in choices.items() if not is_table], quoting)
    return {url: contents[url] for url in urls if url in contents}


def _inspect(urls: Sequence[str], quoting: QuotingOption) -> dict[str, Contents | UserError]:
    def inspect_one(url: str) -> Contents | UserError:
        try:
            return inspect(url, quoting)
        except UserError as error:
            return error

    with ThreadPoolExecutor(READERS) as threads:
        return dict(zip(urls, threads.map(inspect_one, urls), strict=True))


def _resolve(
    contents: dict[str, Contents | UserError],
    options: ColumnOptions,
    is_reference: bool,
    sizes: dict[str, int],
) -> list[Input]:
    """Return the inputs in order, with the columns to read."""
    readable = {
        url: one
        for url, one in contents.items()
        if isinstance(one, Contents) and (one.columns or one.is_open)
    }
    if is_reference:
        # Reference files need not have the training set's columns, only captions.
        options = _reference_options(options, readable.values())
    columns = resolve_all(readable, options)
    inputs = []
    for url, one in contents.items():
        chosen = columns.get(url)
        if isinstance(one, Contents) and isinstance(chosen, Columns):
            chosen = replace(chosen, quoting=one.quoting, fallback=one.fallback)
        problem = next((one for one in (contents[url], chosen) if isinstance(one, UserError)), "")
        inputs.append(
            Input(
                url,
                is_reference,
                chosen if isinstance(chosen, Columns) else None,
                str(problem).removeprefix(f"{url}: "),
                sizes[url],
                one.row_groups if isinstance(one, Contents) else (),
            )
        )
    return inputs


def _reference_options(options: ColumnOptions, files: Iterable[Contents]) -> ColumnOptions:
    """Return the options without the columns that no reference file has."""
    existing = {NONE, *(name.lower() for file in files for name in file.columns)}

    def if_existing(name: str | None) -> str | None:
        return name if name and name.lower() in existing else None

    keep = None if options.keep is None else tuple(filter(if_existing, options.keep))
    first, *more = (*filter(if_existing, options.captions), None)
    return replace(
        options,
        caption=first,
        more_captions=tuple(filter(None, more)),
        key=if_existing(options.key),
        image_key=if_existing(options.image_key),
        keep=keep,
    )


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


# Versions before 0.2 called them pieces.
_SEGMENTS = pydantic.Field(validation_alias=pydantic.AliasChoices("segments", "pieces"))


@dataclass(frozen=True)
class Unit:
    """The segments that one task reads and commits together."""

    id: str
    segments: Annotated[tuple[Segment, ...], _SEGMENTS]


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
    # The defaults are those of earlier versions.
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
