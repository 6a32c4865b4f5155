"""Choose the input files of a scan and the columns to read."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from scanner.captions.batch import Contents
from scanner.captions.columns import NONE, ColumnOptions, Columns, resolve_all
from scanner.captions.formats import inspect, why_not_read
from scanner.captions.records import QuotingOption
from scanner.captions.sidecars import ABOUT_TAR, IN_TABLE, reads_table, table_beside
from scanner.errors import UserError
from scanner.run import Plan
from scanner.scan.config import ScanConfig
from scanner.scan.plan.inputs import Input, Inputs
from scanner.storage import Listing, Skipped

READERS = 16


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
