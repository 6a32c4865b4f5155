"""Which files are read, which of their columns, and the units that they are read in.

Units are the same for every driver. A long parquet file becomes several, along its row groups;
small files share one.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from scanner.captions.batch import Contents, Extent
from scanner.captions.columns import NONE, ColumnOptions, Columns, resolve_all
from scanner.captions.formats import inspect, why_not_read
from scanner.captions.records import QuotingOption
from scanner.captions.sidecars import ABOUT_TAR, IN_TABLE, reads_table, table_beside
from scanner.errors import UserError
from scanner.run import Plan
from scanner.run.records import decode, encode
from scanner.scan.config import ScanConfig
from scanner.storage import Listing, Skipped

READERS = 16
PIECE_ROWS = 1 << 20
UNIT_BYTES = 64 << 20
UNIT_PIECES = 64


@dataclass(frozen=True)
class Input:
    """One file to read, with the columns chosen in it, or why there are none.

    Without columns and without a problem it is empty. ``bytes`` as stored; ``row_groups``: the
    rows of each, of a parquet file.
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
    """The input files and their columns; ``earlier``: plans of the same run, whose files are left
    out.

    A file that cannot be read, or has no caption column, is kept as rejected. Raises UserError if
    nothing matches or no file can be read, and as :func:`resolve_all` does.
    """
    if config.captions_from:
        return Inputs()
    listing = Listing()
    listing.leave_out(item["url"] for plan in earlier for item in plan.inputs if "url" in item)
    # A column that an earlier file had may be missing in all later ones.
    earlier_columns = [one for plan in earlier for one in plan.columns.values()]
    named = ((one["key"], one["image_key"], *one["keep"]) for one in earlier_columns)
    known = {name for names in named for name in names if name}
    options = ColumnOptions(
        config.caption_column, config.key_column, config.image_key, config.keep, frozenset(known)
    )
    inputs: list[Input] = []
    for is_reference, urls in ((False, config.captions), (True, config.reference)):
        files = listing.add(urls, why_not_read)
        contents = _inspect_all(files, config.quoting, listing.skipped)
        inputs += _resolved(contents, options, is_reference, listing.files)
    if inputs and not any(not item.problem and not item.is_reference for item in inputs):
        problems = "; ".join(f"{item.url}: {item.problem}" for item in inputs[:3])
        raise UserError(f"no input file can be read: {problems}")
    return Inputs(tuple(inputs), listing.skipped)


def _inspect_all(
    urls: Sequence[str], quoting: QuotingOption, skipped: Skipped
) -> dict[str, Contents | UserError]:
    """What each file holds, or why it cannot be read; of a table and a tar of the same name only
    what is read."""
    beside = {tar: table for tar in urls if (table := table_beside(tar)) in set(urls)}
    found = _inspect([url for url in urls if url not in beside], quoting)

    def choose(tar: str) -> bool | None:
        table, contents = beside[tar], found[beside[tar]]
        if isinstance(contents, UserError):
            return None
        return reads_table(table, contents.columns, tar)

    with ThreadPoolExecutor(READERS) as threads:
        choices = dict(zip(beside, threads.map(choose, beside), strict=True))
    for tar, is_table in choices.items():
        if is_table:
            skipped.add(IN_TABLE, tar)
        elif is_table is not None:
            skipped.add(ABOUT_TAR, beside[tar])
            del found[beside[tar]]
    found |= _inspect([tar for tar, is_table in choices.items() if not is_table], quoting)
    return {url: found[url] for url in urls if url in found}


def _inspect(urls: Sequence[str], quoting: QuotingOption) -> dict[str, Contents | UserError]:
    def look(url: str) -> Contents | UserError:
        try:
            return inspect(url, quoting)
        except UserError as error:
            return error

    with ThreadPoolExecutor(READERS) as threads:
        return dict(zip(urls, threads.map(look, urls), strict=True))


def _resolved(
    found: dict[str, Contents | UserError],
    options: ColumnOptions,
    is_reference: bool,
    sizes: dict[str, int],
) -> list[Input]:
    """The inputs, in order, with the columns to read."""
    readable = {
        url: one
        for url, one in found.items()
        if isinstance(one, Contents) and (one.columns or one.is_open)
    }
    if is_reference:
        # Reference files need not have the training set's columns, only captions.
        options = _of_references(options, readable.values())
    columns = resolve_all(readable, options)
    inputs = []
    for url, one in found.items():
        chosen = columns.get(url)
        if isinstance(one, Contents) and isinstance(chosen, Columns):
            chosen = replace(chosen, quoting=one.quoting, fallback=one.fallback)
        problem = next((one for one in (found[url], chosen) if isinstance(one, UserError)), "")
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


def _of_references(options: ColumnOptions, files: Iterable[Contents]) -> ColumnOptions:
    """The options without the columns that no reference file has."""
    there = {NONE, *(name.lower() for file in files for name in file.columns)}

    def named(name: str | None) -> str | None:
        return name if name and name.lower() in there else None

    keep = None if options.keep is None else tuple(filter(named, options.keep))
    return replace(
        options,
        caption=named(options.caption),
        key=named(options.key),
        image_key=named(options.image_key),
        keep=keep,
    )


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
