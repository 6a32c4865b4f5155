"""Make the cleaned copy of one shard, after checking that it has not changed since the scan."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.captions.batch import Batch
from scanner.captions.formats import UnreadableFile, ending_of, read
from scanner.captions.records import Quoting
from scanner.captions.values import as_text
from scanner.cluster import Result
from scanner.curation.copies.clean_lines import clean_lines
from scanner.curation.copies.clean_parquet import clean_parquet
from scanner.curation.copies.clean_tar import clean_tar
from scanner.curation.copies.shards import Shard
from scanner.curation.copies.sidecar import clean_sidecar
from scanner.curation.removals import PARQUET, REMOVED
from scanner.errors import UserError
from scanner.storage import Roots, Store, open_input

REFUSED = "refused"


@dataclass(frozen=True)
class CleanWork:
    """Creates the work in an actor; picklable.

    ``removals``: the removal list's directory; ``copies``: the destination; ``roots``: where shards
    may be stored.
    """

    removals: Store
    copies: Store
    roots: Roots

    def __call__(self) -> "Cleaner":
        return Cleaner(self.removals, self.copies, self.roots)


@dataclass
class Cleaner:
    """The work of --apply (scanner.cluster.Work).

    Uploads a shard's copy atomically; the commit that follows stores its counts, or why the shard
    was refused. Idempotent: a repetition gives the same bytes.
    """

    removals: Store
    copies: Store
    roots: Roots

    def prepare(self, item: Shard) -> Shard:
        return item

    def compute(self, prepared: Shard) -> dict[str, Any]:
        try:
            return self._copy(prepared)
        except UserError as error:
            # A result, not a failure: a retry would give the same error.
            return {REFUSED: str(error)}

    def finish(self, computed: dict[str, Any]) -> Result:
        return Result([], computed)

    def _copy(self, shard: Shard) -> dict[str, Any]:
        self.roots.refuse_other(shard.source, "--apply")
        with tempfile.TemporaryDirectory() as folder:
            source = _download(shard.source, Path(folder))
            target = Path(folder, "clean", source.name)
            target.parent.mkdir()
            if shard.rows is None:
                shutil.copyfile(source, target)
                counts: dict[str, Any] = {"rows": 0, "removed": 0, "kept": 0}
            else:
                counts = self._clean(shard, source, target)
            self.copies.upload(target, shard.target)
            with target.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            written = {"bytes": target.stat().st_size, "sha256": digest}
        return {"source": shard.source, "target": shard.target, **counts, **written}

    def _clean(self, shard: Shard, source: Path, target: Path) -> dict[str, Any]:
        removals = _removals(self.removals, shard.source)
        rows = pc.unique(removals["row"]).to_pylist()
        check_unchanged(shard, source, removals)
        write_clean(source, target, set(rows), shard.quoting)
        copied = read(str(target), [], quoting=shard.quoting)
        kept = sum(len(batch.rows) + len(batch.bad) for batch in copied)
        if kept + len(rows) != shard.rows:
            raise UserError(
                f"{shard.source}: a copy of the {shard.rows:,} rows without the {len(rows):,} to "
                f"remove has {kept:,} rows, so no cleaned copy was made: {_why(shard)}"
            )
        refused = (
            clean_sidecar(shard, source, rows, self.copies, self.roots) if shard.has_sidecar else []
        )
        counts = {"rows": shard.rows or 0, "removed": len(rows), "kept": kept}
        names = {"names_refused": len(refused), "first_refused": "".join(refused[:1])}
        return counts | (names if refused else {})


def _why(shard: Shard) -> str:
    if shard.quoting in ("standard", "needed"):
        return (
            "a quote that opens in one row closes in another; fix the quotes, or scan the data set "
            "again with --quoting none"
        )
    return "the file changed while it was copied; rerun the same command"


def write_clean(
    source: Path, target: Path, removed: set[int], quoting: Quoting | None = None
) -> None:
    """Copy a file of any supported format without the rows ``removed``."""
    if not removed:
        shutil.copyfile(source, target)
        return
    ending = ending_of(source.name)
    if ending == ".parquet":
        clean_parquet(source, target, removed)
    elif ending == ".tar":
        clean_tar(source, target, lambda number, key: number in removed)
    else:
        clean_lines(source, target, removed, quoting)


def check_unchanged(shard: Shard, source: Path, removals: pa.Table) -> None:
    """Raise UserError unless the file has the rows that were scanned.

    Compares the number of rows, and the key and the kept columns of every row to remove.
    """
    names = {name.lower(): name for name in removals.column_names}
    pairs = [(names[name], own) for name, own in shard.columns if name in names]
    index = {row: at for at, row in enumerate(removals["row"].to_pylist())}
    scanned = {name: removals[name].to_pylist() for name, _ in pairs}
    rows = 0
    try:
        columns = list(dict.fromkeys(own for _, own in pairs))
        for batch in read(str(source), columns, quoting=shard.quoting):
            rows += len(batch.rows) + len(batch.bad)
            for name, own in pairs:
                _compare(shard, batch, own, scanned[name], index)
    except UnreadableFile as error:
        raise UserError(
            f"{shard.source}: cannot be read to its end ({error}), so no cleaned copy was made; "
            "fix the file or remove it from the training set"
        ) from error
    except ValueError as error:
        raise _changed(shard, str(error)) from error
    if rows != shard.rows:
        raise _changed(shard, f"it has {rows:,} rows, but {shard.rows:,} were scanned")


def _compare(
    shard: Shard, batch: Batch, column: str, scanned: list[str | None], index: dict[int, int]
) -> None:
    """Raise UserError if a removed row's value differs from ``scanned``; ``index``: by row."""
    pairs = [(at, index[row]) for at, row in enumerate(batch.rows) if row in index]
    if not pairs:
        return
    values = as_text(batch.columns[column])
    for at, expected in pairs:
        if scanned[expected] is not None and values[at].as_py() != scanned[expected]:
            raise _changed(
                shard,
                f"row {batch.rows[at]} has {column} = {values[at].as_py()!r}, but "
                f"{scanned[expected]!r} was scanned",
            )


def _changed(shard: Shard, why: str) -> UserError:
    return UserError(
        f"{shard.source}: changed since the scan: {why}; no cleaned copy was made. Scan the data "
        "set again, or restore the file"
    )


def _removals(store: Store, source: str) -> pa.Table:
    """Read the rows of the removal list that remove samples of a source."""
    with store.open(PARQUET) as file:
        condition = (pc.field("source") == source) & pc.field("action").isin(REMOVED)
        return pq.read_table(file, filters=condition)


def _download(url: str, folder: Path) -> Path:
    """Return the path of a shard, downloaded to ``folder`` unless it is local."""
    if "://" not in url:
        return Path(url)
    copy = folder / url.rsplit("/", 1)[1]
    with open_input(url) as remote, copy.open("wb") as file:
        shutil.copyfileobj(remote, file, 1 << 20)
    return copy
