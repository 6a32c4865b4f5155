"""Read lists that name samples by key, URL or caption: opt-outs, takedowns, removal lists."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.captions.batch import Batch
from scanner.captions.formats import UnreadableFile, ending_of, inspect, read
from scanner.captions.values import as_text
from scanner.curation.key_hashes import hex_of_hashes, load_hashes
from scanner.curation.removals import REMOVED
from scanner.errors import UserError
from scanner.storage import bare_name

ENTRIES = pa.schema([pa.field(name, pa.string()) for name in ("key", "url", "caption")])
KEYS = ("key", "__key__", "uid", "sample_id")
URLS = ("url", "image_url")
# Of a table without any of those: all samples of the captions.
CAPTIONS = ("caption_id", "caption")
# Without any of these either, the key, which beside them may be the list's own number.
ID = "id"
# In a removal list, what happens to the sample.
ACTION = "action"
BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class NameList:
    """A list of samples to remove; ``reason``: the code that its samples get."""

    reason: str
    url: str


def read_names(url: str, option: str = "--list") -> Iterator[pa.RecordBatch]:
    """Yield the entries of a list in order: ``key``, ``url`` and ``caption`` (text or id), of which
    at least one is not null if the entry is usable.

    A .npy file has uids (scanner.curation.key_hashes.HASH). A table has a column key, uid,
    sample_id, url or image_url, or several, or without these caption_id or caption, or id alone; of
    one with a column action, only rows that are dropped or capped count. A line of a .txt may be a
    key or a URL. Raises UserError, with ``option`` in the message, if the file cannot be read.
    """
    try:
        if bare_name(url).endswith(".npy"):
            yield from _of_array(url)
            return
        columns = inspect(url).columns
    except UserError as error:
        raise UserError(f"{option} {error}") from error
    try:
        yield from _of_lines(url, columns) if ending_of(url) == ".txt" else _of_table(url, columns)
    except UserError as error:
        raise UserError(f"{option} {error}") from error
    except UnreadableFile as error:
        raise UserError(f"{option} {url}: cannot be read to its end: {error}") from error


def _of_lines(url: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for batch in read(url, columns):
        texts = [as_text(values) for values in batch.columns.values()]
        yield from _entries(batch, [texts, texts, []], None)


def _of_table(url: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    found: dict[str, str] = {}
    for name in columns:
        found.setdefault(name.lower(), name)
    names = [[found[name] for name in some if name in found] for some in (KEYS, URLS, CAPTIONS)]
    if not any(names) and ID in found:
        names[0] = [found[ID]]
    if found and not any(names):
        raise UserError(
            f"{url}: no column {', '.join((*KEYS, *URLS, *CAPTIONS, ID))} that names samples; it "
            f"has {', '.join(found.values())}"
        )
    if names[0] or names[1]:
        names[2] = []  # of the samples that keys and URLs name
    action = found.get(ACTION)
    for batch in read(url, [*itertools.chain(*names), *([action] if action else [])]):
        text = {name: as_text(values) for name, values in batch.columns.items()}
        given = [[text[name] for name in some] for some in names]
        yield from _entries(batch, given, text[action] if action else None)


def _entries(
    batch: Batch, given: list[list[pa.StringArray]], actions: pa.StringArray | None
) -> Iterator[pa.RecordBatch]:
    """Yield the entries of a batch; ``given``: the columns for each column of ENTRIES."""
    nothing = pa.nulls(len(batch.rows), pa.string())
    columns = [_first(names) if names else nothing for names in given]
    entries = pa.RecordBatch.from_arrays(columns, schema=ENTRIES)
    if actions is not None:
        entries = entries.filter(pc.is_in(actions, pa.array(REMOVED)))
    yield entries
    bad = pa.nulls(len(batch.bad), pa.string())
    yield pa.RecordBatch.from_arrays([bad, bad, bad], schema=ENTRIES)


def _first(names: list[pa.StringArray]) -> pa.Array:
    """Return the first value of each row that is not blank."""
    filled = [
        pc.if_else(pc.equal(pc.utf8_trim_whitespace(one), ""), pa.scalar(None, pa.string()), one)
        for one in names
    ]
    return pc.coalesce(*filled)


def _of_array(url: str) -> Iterator[pa.RecordBatch]:
    hashes = load_hashes(url)
    for start in range(0, len(hashes), BATCH_ROWS):
        uids = hex_of_hashes(np.asarray(hashes[start : start + BATCH_ROWS]))
        nothing = pa.nulls(len(uids), pa.string())
        yield pa.RecordBatch.from_arrays([pa.array(uids), nothing, nothing], schema=ENTRIES)
