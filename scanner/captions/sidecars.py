"""A parquet file next to a tar of the same name: decide which of the two to read.

img2dataset writes captions and download status into ``00000.parquet`` next to ``00000.tar``;
reading the table avoids fetching the tar. Other tools write embeddings, or a filtered subset of the
samples, under the same name: then the tar has the captions.
"""

import itertools
import tarfile
from collections.abc import Iterable

import pyarrow.compute as pc

from scanner.captions.columns import CAPTION_NAMES, DOWNLOADED
from scanner.captions.parquet import parquet_batches
from scanner.captions.values import as_text
from scanner.captions.webdataset import tar_files
from scanner.storage import is_transient, retry_outages

FIRST_MEMBERS = 64
IN_TABLE = "a tar whose captions are in the img2dataset parquet file next to it"
ABOUT_TAR = "a parquet file about the samples of the tar next to it"
_CAPTIONS = {name for names in CAPTION_NAMES for name in names}


def table_beside(tar: str) -> str:
    """Return the name of the parquet file next to a tar; "" if ``tar`` is not a tar."""
    return tar.removesuffix(".tar") + ".parquet" if tar.endswith(".tar") else ""


def reads_table(table: str, columns: Iterable[str], tar: str) -> bool | None:
    """Return whether to read the table instead of the tar; None to read both (unrelated files).

    ``columns``: of the table.
    """
    columns = set(columns)
    is_complete = set(DOWNLOADED) <= columns
    if not is_complete and not any(name.lower() in _CAPTIONS for name in columns):
        return False
    if "key" not in columns:
        return None
    try:
        first = retry_outages(_first_keys)(tar)
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        if is_transient(error):
            raise
        # An unreadable tar does not rule out the table.
        return True if is_complete else None
    keys = retry_outages(_keys)(table, is_complete)
    if is_complete and first <= keys:
        return True
    return False if first & keys else None


def _first_keys(tar: str) -> set[str]:
    """Return the keys of the first samples of a tar, without their folders."""
    members = itertools.islice(tar_files(tar), FIRST_MEMBERS)
    return {key.rpartition("/")[2] for _, key, *_ in members}


def _keys(table: str, downloaded: bool) -> set[str]:
    """Return a table's keys; with ``downloaded``, only of downloaded images."""
    names = ["key", "status"] if downloaded else ["key"]
    keys: set[str] = set()
    for batch in parquet_batches(table, names, None):
        found = as_text(batch.columns["key"])
        if downloaded:
            found = found.filter(pc.equal(as_text(batch.columns["status"]), "success"))
        keys.update(found.to_pylist())
    return keys
