"""Apply a removal list to another copy of the data, whose rows are found by key or URL."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scanner.captions.columns import DOWNLOADED
from scanner.captions.formats import UnreadableFile, inspect, read, why_not_read
from scanner.captions.values import as_text
from scanner.curation.copies.cleaning import Cleaner, write_clean
from scanner.curation.copies.copying import Applied, copy_shards
from scanner.curation.copies.shards import Shard, shards_of
from scanner.curation.copies.sidecar import clean_sidecar
from scanner.curation.key_hashes import HASH, hash_keys, is_in
from scanner.curation.name_lists import KEYS, URLS
from scanner.curation.removal_filter import HASHES, load_removed
from scanner.curation.training_lists import URLS as URL_LIST
from scanner.errors import UserError
from scanner.run import Plan
from scanner.storage import Listing, Roots, Store

KEY, URL = "key", "url"


@dataclass(frozen=True)
class MatchWork:
    """Creates the work in an actor; picklable. See CleanWork."""

    removals: Store
    copies: Store
    roots: Roots

    def __call__(self) -> "_Matcher":
        return _Matcher(self.removals, self.copies, self.roots)


class _Matcher(Cleaner):
    """The work of --apply-to: like that of --apply, but rows are found by key or URL."""

    @cached_property
    def _removed(self) -> dict[str, np.ndarray]:
        """Sorted hashes of removed keys and URLs."""
        files = {KEY: HASHES, URL: URL_LIST}
        return {
            by: load_removed(self.removals.location(name))
            if self.removals.exists(name)
            else np.empty(0, HASH)
            for by, name in files.items()
        }

    def _clean(self, shard: Shard, source: Path, target: Path) -> dict[str, Any]:
        ((by, column),) = shard.columns
        removed: list[int] = []
        total = 0
        try:
            for batch in read(str(source), [column], quoting=shard.quoting):
                total += len(batch.rows) + len(batch.bad)
                names = as_text(batch.columns[column]).to_pylist()
                gone = is_in(hash_keys(name or "" for name in names), self._removed[by])
                places = np.flatnonzero(gone).tolist()
                removed += [batch.rows[at] for at in places if names[at] is not None]
        except UnreadableFile as error:
            raise UserError(
                f"{shard.source}: cannot be read to its end ({error}), so no cleaned copy was made"
            ) from error
        write_clean(source, target, set(removed), shard.quoting)
        copied = read(str(target), [], quoting=shard.quoting)
        kept = sum(len(batch.rows) + len(batch.bad) for batch in copied)
        if kept + len(removed) != total:
            raise UserError(
                f"{shard.source}: a copy of the {total:,} rows without {len(removed):,} has "
                f"{kept:,}, so no cleaned copy was made: a quote opens in one row and closes in "
                "another; fix the quotes, or convert the file to Parquet"
            )
        if shard.has_sidecar:
            clean_sidecar(shard, source, removed, self.copies, self.roots)
        return {"rows": total, "removed": len(removed), "kept": kept}


def apply_to(
    files: Sequence[str],
    removals: str,
    copies: str,
    key: str | None = None,
    actors: int | None = None,
    address: str | None = None,
    single_writer: bool = False,
    input_roots: Sequence[str] = (),
) -> Applied:
    """Copy files that no scan read to ``copies``, without the rows whose key, or in files without
    one, whose URL is that of a removed sample.

    ``files``: files, globs and directories; ``removals``: the directory with the list; ``key``: the
    run's key column. Resumes an earlier call. Raises UserError if a file has neither column, or
    cannot be copied.
    """
    listed = Listing().add(files, why_not_read)
    columns = {url: _columns(url, key) for url in listed}
    inputs = tuple({"url": url, "is_reference": False, "rows": 0} for url in listed)
    plan = Plan(inputs, (), (), (), (), {"captions": 0, "samples": 0}, columns)
    roots = Roots.of(files, input_roots)
    shards = shards_of(plan, copies, roots)
    removal_list, store = Store(removals, single_writer=True), Store(copies, single_writer)
    work = MatchWork(removal_list, store, roots)
    return copy_shards(removal_list, store, shards, work, "by name", 0, actors, address)


def _columns(url: str, key: str | None) -> dict[str, Any]:
    """Return the column that a file's rows are found by, as a plan describes it."""
    contents = inspect(url)
    found: dict[str, str] = {}
    for name in contents.columns:
        found.setdefault(name.lower(), name)
    is_downloaded = set(DOWNLOADED) <= found.keys()
    # img2dataset numbers the rows of each download anew.
    keys = [name for name in (key, *KEYS) if name and not (is_downloaded and name == "key")]
    by_key = next((found[name.lower()] for name in keys if name.lower() in found), None)
    by_url = next((found[name] for name in URLS if name in found), None)
    if found and not by_key and not by_url:
        raise UserError(
            f"--apply-to {url}: no column {', '.join(dict.fromkeys((*keys, *URLS)))} to find "
            f"removed samples by; it has {', '.join(found.values())}"
        )
    return {
        "key": by_key,
        "keep": [] if by_key or not by_url else [by_url],
        "status": "status" if is_downloaded else None,
        "quoting": contents.quoting,
    }
