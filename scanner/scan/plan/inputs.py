"""Which files are read, and which of their columns."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from scanner.captions.batch import Contents
from scanner.captions.columns import Columns, resolve
from scanner.captions.formats import ENDINGS, inspect, without_sidecar_tars
from scanner.captions.records import QuotingOption
from scanner.errors import UserError
from scanner.scan.config import ScanConfig
from scanner.storage import expand

READERS = 16


@dataclass(frozen=True)
class Input:
    """One file to read, with the columns chosen in it, or why there are none.

    ``bytes`` as stored; ``row_groups``: the rows of each, of a parquet file.
    """

    url: str
    is_reference: bool
    columns: Columns | None
    problem: str = ""
    bytes: int = 0
    row_groups: tuple[int, ...] = ()


def choose_inputs(config: ScanConfig) -> list[Input]:
    """The input files and their columns.

    Raises UserError where nothing matches, or where a caption column is missing or in doubt in
    the first file that can be read; a file that cannot be read, or lacks it, is kept as rejected.
    """
    inputs: list[Input] = []
    if config.captions_from:
        return inputs
    for is_reference, urls in ((False, config.captions), (True, config.reference)):
        files = without_sidecar_tars(expand(urls, ENDINGS))
        first = True
        for url, contents in zip(files, _inspect_all(files, config.quoting), strict=True):
            if isinstance(contents, UserError):
                inputs.append(_without_columns(url, is_reference, contents))
                continue
            try:
                columns = _columns(config, contents.columns, url, is_reference)
            except UserError as error:
                if first:
                    raise
                inputs.append(_without_columns(url, is_reference, error))
            else:
                columns = replace(columns, quoting=contents.quoting, fallback=contents.fallback)
                groups = contents.row_groups
                inputs.append(Input(url, is_reference, columns, "", contents.bytes, groups))
            first = False
    if not any(item.columns and not item.is_reference for item in inputs):
        problems = "; ".join(f"{item.url}: {item.problem}" for item in inputs[:3])
        raise UserError(f"no input file can be read: {problems}")
    return inputs


def _inspect_all(urls: Sequence[str], quoting: QuotingOption) -> list[Contents | UserError]:
    """What each file holds, or why it cannot be read."""

    def look(url: str) -> Contents | UserError:
        try:
            return inspect(url, quoting)
        except UserError as error:
            return error

    with ThreadPoolExecutor(READERS) as threads:
        return list(threads.map(look, urls))


def _without_columns(url: str, is_reference: bool, error: UserError) -> Input:
    return Input(url, is_reference, None, str(error).removeprefix(f"{url}: "))


def _columns(config: ScanConfig, names: list[str], url: str, is_reference: bool) -> Columns:
    if not is_reference:
        return resolve(
            names, url, config.caption_column, config.key_column, config.image_key, config.keep
        )
    # Reference files need not have the training set's columns, only captions.
    there = {name.lower() for name in names}

    def named(name: str | None) -> str | None:
        return name if name and name.lower() in there else None

    keep = None if config.keep is None else tuple(filter(named, config.keep))
    return resolve(
        names,
        url,
        named(config.caption_column),
        named(config.key_column),
        named(config.image_key),
        keep,
    )
