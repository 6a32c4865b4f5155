"""Lists of a policy's removals that training code reads, beside the removal list."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from scanner.curation.key_hashes import UID, HashWriter, hashes_of_hex, sql_hash
from scanner.curation.removal_filter import HASHES
from scanner.plurals import pluralize
from scanner.query import RunTables, identifier
from scanner.storage import Store

KEEP = "keep_uids.npy"
KEYS, URLS = "removed_keys.txt", "removed_urls.txt"
URL_COLUMNS = ("url", "image_url")
BATCH_ROWS = 1 << 16
PROBED = 1000
_GONE = "(FROM listed WHERE action IN ('drop', 'cap'))"
_HASHES = f"SELECT DISTINCT {sql_hash('key')} AS hash FROM {_GONE} WHERE key IS NOT NULL"
# A row that planning rejected is not a sample; the policy says whether copies keep it.
_ROWS = """
    SELECT key FROM samples WHERE NOT is_reference
    UNION ALL SELECT key FROM rejected ANTI JOIN listed USING (source, "row")"""
_UIDS = f"""
    SELECT count(*) AS rows, count(*) FILTER (regexp_full_match(key, '{UID}')) AS uids FROM"""
# Several samples may have the same key or URL: a list of names cannot tell them apart.
_SHARED = f"""
    SELECT count(*) AS n FROM samples
    SEMI JOIN (SELECT {{0}} AS name FROM {_GONE}) AS names ON samples.{{0}} = names.name
    ANTI JOIN {_GONE} AS gone USING (source, "row")
    WHERE NOT is_reference"""


@dataclass(frozen=True)
class TrainingLists:
    """The lists written: entries by file name, and why others were not written.

    ``without_key``: removed samples and rows without a key, which only removal_list.parquet names.
    ``with_line_breaks``: keys and URLs left out of the .txt files. ``shared_keys``: kept samples
    with the key of a removed one, which lists by key remove too; ``shared_urls``: the same for
    URLs. ``unknown``: kept rows without a uid, which keep_uids.npy leaves out.
    """

    entries: dict[str, int]
    not_written: dict[str, str]
    without_key: int = 0
    with_line_breaks: int = 0
    shared_keys: int = 0
    shared_urls: int = 0
    unknown: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        files = [f"{name} ({count:,})" for name, count in self.entries.items()]
        lines = [f"for training code: {', '.join(files)}"] if files else []
        lines += [f"not written: {name}: {why}" for name, why in self.not_written.items()]
        for count, what, about in (
            (self.without_key, "removed row", "without a key, named in the removal list only"),
            (self.with_line_breaks, "name", "with line breaks, left out of the .txt files"),
            (self.shared_keys, "kept sample", "with a removed key, which lists by key remove too"),
            (self.shared_urls, "kept sample", f"with a removed URL, which {URLS} names too"),
            (self.unknown, "kept row", f"without a uid, left out of {KEEP}"),
        ):
            lines += [f"warning: {pluralize(count, what)} {about}"] if count else []
        return "\n".join(lines)


def write_training_lists(
    tables: RunTables, store: Store, takes_whole_set: bool = True
) -> TrainingLists:
    """Write the lists of the table listed, in bounded memory, each file atomically.

    ``removed.npy``: sorted hashes of the removed keys, for RemovalFilter. ``removed_keys.txt``,
    ``removed_urls.txt``: sorted, one per line. ``keep_uids.npy``, if all keys are uids: the sorted
    uids of the samples to keep, as DataComp's resharder takes them (--subset-file).
    ``takes_whole_set``: the run has all samples of the training set, not only flagged ones. Removes
    the files of an earlier list that this one has not.
    """
    entries: dict[str, int] = {}
    not_written: dict[str, str] = {}
    counts = {"with_line_breaks": 0, "unknown": 0}
    columns = {name.lower(): name for name in tables.query("FROM listed LIMIT 0").column_names}
    url = next((columns[name] for name in URL_COLUMNS if name in columns), None)
    with tempfile.TemporaryDirectory() as folder:
        if tables.query("SELECT key FROM samples WHERE key IS NOT NULL LIMIT 1").num_rows:
            entries[HASHES] = _write_hashes(tables, store, Path(folder), HASHES, _HASHES)
            entries[KEYS], broken = _write_lines(tables, store, Path(folder), KEYS, "key")
            counts["with_line_breaks"] += broken
        else:
            why = "the samples have no keys; choose a column with memscan scan --key-column"
            not_written |= {HASHES: why, KEYS: why}
        if url:
            entries[URLS], broken = _write_lines(tables, store, Path(folder), URLS, identifier(url))
            counts["with_line_breaks"] += broken
        else:
            not_written[URLS] = "the run kept no column url; see memscan scan --keep"
        if why := _why_no_uids(tables, takes_whole_set):
            not_written[KEEP] = why
        else:
            kept = f"""
                SELECT DISTINCT hash FROM (
                    SELECT lower(key) AS hash FROM ({_ROWS}) WHERE regexp_full_match(key, '{UID}')
                ) ANTI JOIN ({_HASHES}) AS gone USING (hash)"""
            entries[KEEP] = _write_hashes(tables, store, Path(folder), KEEP, kept)
            (rows,) = tables.query(f"{_UIDS} ({_ROWS})").to_pylist()
            counts["unknown"] = rows["rows"] - rows["uids"]
    for name in not_written:
        if store.exists(name):
            store.remove(name)
    return TrainingLists(
        entries,
        not_written,
        without_key=_count(tables, f"SELECT count(*) AS n FROM {_GONE} WHERE key IS NULL"),
        shared_keys=_count(tables, _SHARED.format("key")),
        shared_urls=_count(tables, _SHARED.format(identifier(url))) if url else 0,
        **counts,
    )


def _count(tables: RunTables, sql: str) -> int:
    return tables.query(sql)["n"][0].as_py()


def _why_no_uids(tables: RunTables, takes_whole_set: bool) -> str:
    """Return why keys are no uids, or why a list of uids to keep would be wrong; "" if it is fine.

    Most data sets without uids show in the first rows.
    """
    if not takes_whole_set:
        return "the run has only the captions that another run flagged, not all samples to keep"
    samples = "samples WHERE NOT is_reference"
    for some in (f"(SELECT key FROM {samples} LIMIT {PROBED})", samples):
        (found,) = tables.query(f"{_UIDS} {some}").to_pylist()
        if found["uids"] < found["rows"]:
            return "the keys are not uids (32 hex digits), as DataComp has them"
    return ""


def _write_hashes(tables: RunTables, store: Store, folder: Path, name: str, sql: str) -> int:
    """Write hashes, given as hex digits in the column ``hash``; return their number."""
    with HashWriter(folder / name) as file:
        for batch in tables.batches(f"FROM ({sql}) ORDER BY hash", BATCH_ROWS):
            file.write(hashes_of_hex(batch["hash"]))
    store.upload(folder / name, name)
    return file.rows


def _write_lines(
    tables: RunTables, store: Store, folder: Path, name: str, column: str
) -> tuple[int, int]:
    """Write the distinct values of a column of removed samples, sorted, one per line.

    Returns how many were written, and how many were not, because of a line break.
    """
    lines = broken = 0
    sql = f"SELECT DISTINCT {column} AS name FROM {_GONE} WHERE {column} IS NOT NULL ORDER BY name"
    with (folder / name).open("wb") as file:
        for batch in tables.batches(sql, BATCH_ROWS):
            whole = batch["name"].filter(
                pc.invert(pc.match_substring_regex(batch["name"], "[\r\n]"))
            )
            file.write("".join(f"{text}\n" for text in whole.to_pylist()).encode())
            lines += len(whole)
            broken += len(batch) - len(whole)
    store.upload(folder / name, name)
    return lines, broken
