"""Read the columns of parquet, csv, tsv, jsonl and tar files in bounded batches, bad rows apart.

Rows are counted from 0 in the order of the file, bad ones included, so that (source, row) names
a row for good.
"""

import csv
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from scanner.captions.batch import Batch, Contents, Extent
from scanner.captions.lines import csv_batches, csv_contents, jsonl_batches, jsonl_contents
from scanner.captions.parquet import parquet_batches, parquet_contents
from scanner.captions.records import Quoting, QuotingOption
from scanner.captions.webdataset import tar_batches, tar_contents
from scanner.errors import UserError
from scanner.storage import is_transient

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    RecursionError,
    zlib.error,
    csv.Error,
    tarfile.TarError,
    pa.ArrowException,
)


class UnreadableFile(Exception):
    """The rest of a file cannot be read; the message says why."""


@dataclass(frozen=True)
class _Format:
    contents: Callable[[str], Contents]
    batches: Callable[[str, list[str], Extent | None], Iterator[Batch]]


_FORMATS = {
    ".parquet": _Format(parquet_contents, parquet_batches),
    ".csv": _Format(csv_contents, csv_batches),
    ".tsv": _Format(csv_contents, csv_batches),
    ".jsonl": _Format(jsonl_contents, jsonl_batches),
    ".ndjson": _Format(jsonl_contents, jsonl_batches),
    ".tar": _Format(tar_contents, tar_batches),
}
ENDINGS = (*_FORMATS, *(ending + ".gz" for ending in _FORMATS if ending != ".parquet"))


def inspect(url: str, quoting: QuotingOption = "auto") -> Contents:
    """A file without its rows; ``quoting`` is for csv and tsv. Raises UserError if it cannot be
    read."""
    contents = _FORMATS[ending_of(url)].contents
    if contents is csv_contents:
        contents = partial(csv_contents, quoting=quoting)
    try:
        return contents(url)
    except _DAMAGE as error:
        # A store that does not answer says nothing of the file: whoever reads it may try again.
        if is_transient(error):
            raise
        raise UserError(f"{url}: cannot be read: {_brief(error)}") from error


def read(
    url: str, columns: list[str], extent: Extent | None = None, quoting: Quoting | None = None
) -> Iterator[Batch]:
    """The named columns of a file, or of an extent of it.

    ``quoting``: as it was planned, of a csv or tsv; without it the file is looked at anew. Raises
    UnreadableFile, after what could be read, if the file is damaged.
    """
    batches = _FORMATS[ending_of(url)].batches
    if batches is csv_batches:
        batches = partial(csv_batches, quoting=quoting)
    try:
        yield from batches(url, columns, extent)
    except _DAMAGE as error:
        if is_transient(error):
            raise
        raise UnreadableFile(_brief(error)) from error


def without_sidecar_tars(urls: Sequence[str]) -> list[str]:
    """The same files without the tars whose texts img2dataset has put in a parquet beside them."""
    there = set(urls)
    beside = {url: url.removesuffix(".tar") + ".parquet" for url in urls if url.endswith(".tar")}
    return [url for url in urls if beside.get(url) not in there]


def ending_of(url: str) -> str:
    """The ending that says which format a file has, such as .csv; .gz is none. Raises UserError."""
    name = url.lower().removesuffix(".gz")
    for ending in _FORMATS:
        if name.endswith(ending):
            return ending
    raise UserError(
        f"{url}: not a format that can be read; the name must end in {', '.join(ENDINGS)}"
    )


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}"
