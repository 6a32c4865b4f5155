"""A parquet file beside a tar of the same name: who wrote it decides which of the two is read.

img2dataset writes what became of each download, with the captions, into ``00000.parquet`` beside
``00000.tar``; reading the table spares fetching the tar. Other tools leave embeddings, or a
filtered part of the samples, under the same name: then the tar has the captions.
"""

import itertools
import tarfile
from collections.abc import Iterable

import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.captions.columns import CAPTION_NAMES, DOWNLOADED
from scanner.captions.values import as_text
from scanner.captions.webdataset import tar_files
from scanner.storage import is_transient, open_input

FIRST_MEMBERS = 64
IN_TABLE = "a tar whose captions are in img2dataset's parquet file beside it"
ABOUT_TAR = "a parquet file about the samples of the tar beside it"
_CAPTIONS = {name for names in CAPTION_NAMES for name in names}


def table_beside(tar: str) -> str:
    """The name that a parquet file beside a tar has; "" for what is no tar."""
    return tar.removesuffix(".tar") + ".parquet" if tar.endswith(".tar") else ""


def reads_table(table: str, columns: Iterable[str], tar: str) -> bool | None:
    """Whether of the two the table is read; None: both, since they have nothing to do with each
    other. ``columns``: the table's.
    """
    columns = set(columns)
    is_complete = set(DOWNLOADED) <= columns
    if not is_complete and not any(name.lower() in _CAPTIONS for name in columns):
        return False
    if "key" not in columns:
        return None
    try:
        first = _first_keys(tar)
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        if is_transient(error):
            raise
        # A tar that cannot be read says nothing against the table.
        return True if is_complete else None
    keys = _keys(table, is_complete)
    if is_complete and first <= keys:
        return True
    return False if first & keys else None


def _first_keys(tar: str) -> set[str]:
    """The keys of the first samples of a tar, without their folders."""
    members = itertools.islice(tar_files(tar), FIRST_MEMBERS)
    return {key.rpartition("/")[2] for _, key, *_ in members}


def _keys(table: str, downloaded: bool) -> set[str]:
    """A table's keys; with ``downloaded`` only those of images that were."""
    names = ["key", "status"] if downloaded else ["key"]
    with open_input(table, cache_type="none") as file:
        batches = pq.ParquetFile(file).iter_batches(columns=names)
        keys: set[str] = set()
        for batch in batches:
            found = as_text(batch["key"])
            if downloaded:
                found = found.filter(pc.equal(as_text(batch["status"]), "success"))
            keys.update(found.to_pylist())
    return keys
