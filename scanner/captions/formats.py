"""Read columns of parquet, csv, tsv, jsonl, txt and tar files in bounded batches.

Rows are numbered from 0 in file order, including bad ones, so (source, row) identifies a row
permanently.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from scanner.captions.batch import Batch, Contents, Extent
from scanner.captions.lines import csv_batches, csv_contents, jsonl_batches, jsonl_contents
from scanner.captions.parquet import parquet_batches, parquet_contents
from scanner.captions.plain_text import text_batches, text_contents
from scanner.captions.records import Quoting, QuotingOption
from scanner.captions.webdataset import tar_batches, tar_contents
from scanner.credentials import without_secrets
from scanner.errors import UserError, encodable
from scanner.storage import bare_name, is_transient, raises_outages, retry_outages
from scanner.storage.outages import RETRY_SECONDS


class UnreadableFile(Exception):
    """The rest of a file is unreadable; the message says why."""


@dataclass(frozen=True)
class _Format:
    contents: Callable[[str], Contents]
    batches: Callable[[str, list[str], Extent | None, int | None], Iterator[Batch]]


_FORMATS = {
    ".parquet": _Format(parquet_contents, parquet_batches),
    ".csv": _Format(csv_contents, csv_batches),
    ".tsv": _Format(csv_contents, csv_batches),
    ".jsonl": _Format(jsonl_contents, jsonl_batches),
    ".ndjson": _Format(jsonl_contents, jsonl_batches),
    ".txt": _Format(text_contents, text_batches),
    ".tar": _Format(tar_contents, tar_batches),
}
# Compression suffixes per format; seeking in a tar requires gzip.
_PACKED = {".parquet": (), ".tar": (".gz",)}
_TGZ = ".tgz"
_PACKERS = (".gz", ".zst", ".bz2", ".xz", ".zip")
ENDINGS = (
    *(
        ending + packed
        for ending in _FORMATS
        for packed in ("", *_PACKED.get(ending, (".gz", ".zst")))
    ),
    _TGZ,
)


def inspect(
    url: str, quoting: QuotingOption = "auto", retry_seconds: float = RETRY_SECONDS
) -> Contents:
    """Return a file's columns; ``quoting`` applies to csv and tsv.

    Waits for an outage of its store for up to ``retry_seconds``. Raises UserError if the file
    cannot be read, and StoreOutage (or an error of S3) if the store stays unavailable.
    """
    contents = _FORMATS[ending_of(url)].contents
    if contents is csv_contents:
        contents = partial(csv_contents, quoting=quoting)
    try:
        with raises_outages(url):
            return retry_outages(contents, retry_seconds)(url)
    except UserError:
        raise
    except Exception as error:  # parsers raise errors of any kind on damaged data
        # An unresponsive store says nothing about the file: the caller may retry.
        if is_transient(error):
            raise
        raise UserError(f"{url}: cannot be read: {_brief(error)}") from error


def read(
    url: str,
    columns: list[str],
    extent: Extent | None = None,
    quoting: Quoting | None = None,
    batch_rows: int | None = None,
) -> Iterator[Batch]:
    """Yield batches of the named columns of a file, or of an extent of it.

    ``quoting``: as planned, for csv and tsv; detected from the file if None. ``batch_rows``: the
    maximum per batch, by default that of the format. Raises UnreadableFile if the file is damaged,
    after yielding what could be read, and StoreOutage (or an error of S3) if its store is
    unavailable.
    """
    batches = _FORMATS[ending_of(url)].batches
    if batches is csv_batches:
        batches = partial(csv_batches, quoting=quoting)
    try:
        with raises_outages(url):
            yield from batches(url, columns, extent, batch_rows)
    except UserError:
        raise
    except Exception as error:  # as above
        if is_transient(error):
            raise
        raise UnreadableFile(_brief(error)) from error


def why_not_read(name: str, named: bool) -> str:
    """Return why a file of this name is not an input, "" if it is.

    ``named``: the user named the file, or a glob with its extension. A .txt in a directory is more
    often a license or a single image's caption than a list of captions.
    """
    name = bare_name(name)
    ending = _ending(name)
    if ending == ".txt" and not named:
        return "a .txt in a directory (name it to read one caption per line)"
    if ending:
        return ""
    suffixes = (
        PurePosixPath(name).suffixes[-2:]
        if name.endswith(_PACKERS)
        else [PurePosixPath(name).suffix]
    )
    unknown = "".join(suffixes) or "no ending"
    return f"{unknown}: not one of {', '.join(ENDINGS)}"


def ending_of(url: str) -> str:
    """Return the extension of a file's format, such as .csv, without .gz. Raises UserError."""
    if ending := _ending(bare_name(url)):
        return ending
    raise UserError(f"{url}: {why_not_read(url, True)}")


def _ending(name: str) -> str:
    if not name.endswith(ENDINGS):
        return ""
    name = name.removesuffix(_TGZ) + ".tar" if name.endswith(_TGZ) else name
    return PurePosixPath(name.removesuffix(".gz").removesuffix(".zst")).suffix


def _brief(error: BaseException) -> str:
    reason = str(error).splitlines()[0] if str(error) else "no reason"
    return without_secrets(encodable(f"{type(error).__name__}: {reason}"))
