"""Make the cleaned copy of one shard, after a look whether it is still the one scanned."""

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
from scanner.curation.copies.beside import clean_beside
from scanner.curation.copies.clean_lines import clean_lines
from scanner.curation.copies.clean_parquet import clean_parquet
from scanner.curation.copies.clean_tar import clean_tar
from scanner.curation.copies.shards import Shard
from scanner.curation.removals import PARQUET, REMOVED
from scanner.errors import UserError
from scanner.storage import Roots, Store, open_input

REFUSED = "refused"


@dataclass(frozen=True)
class CleanWork:
    """How to make the work in an actor: the removal list's directory, the copies', and where the
    shards may lie."""

    removals: Store
    copies: Store
    roots: Roots

    def __call__(self) -> "_Cleaner":
        return _Cleaner(self.removals, self.copies, self.roots)


@dataclass
class _Cleaner:
    """The work of --apply (scanner.cluster.Work).

    A shard's copy is uploaded whole; the commit that follows holds its counts, or, of a shard
    that is refused, why. Doing it twice gives the same bytes.
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
            # A result, not a failure: to try again at once would find the same.
            return {REFUSED: str(error)}

    def finish(self, computed: dict[str, Any]) -> Result:
        return Result([], computed)

    def _copy(self, shard: Shard) -> dict[str, Any]:
        self.roots.refuse_other(shard.source, "--apply")
        with tempfile.TemporaryDirectory() as folder:
            source = _local(shard.source, Path(folder))
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
        listed = _listed(self.removals, shard.source)
        rows = pc.unique(listed["row"]).to_pylist()
        check_same(shard, source, listed)
        write_clean(source, target, set(rows), shard.quoting)
        copied = read(str(target), [], quoting=shard.quoting)
        kept = sum(len(batch.rows) + len(batch.bad) for batch in copied)
        if kept + len(rows) != shard.rows:
            raise UserError(
                f"{shard.source}: {shard.rows:,} rows without the {len(rows):,} to remove would be "
                f"read as {kept:,}, so no cleaned copy was made: {_why(shard)}"
            )
        refused = clean_beside(shard, source, rows, self.copies, self.roots) if shard.beside else []
        counts = {"rows": shard.rows or 0, "removed": len(rows), "kept": kept}
        said = {"names_refused": len(refused), "first_refused": "".join(refused[:1])}
        return counts | (said if refused else {})


def _why(shard: Shard) -> str:
    if shard.quoting in ("standard", "needed"):
        return (
            "a quote that opens in one row closes in another; mend the quotes, or scan the data "
            "set again with --quoting none"
        )
    return "the file changed while it was copied; run the same command again"


def write_clean(
    source: Path, target: Path, removed: set[int], quoting: Quoting | None = None
) -> None:
    """A copy of a file of any format that is scanned, without some of its rows; as it is, where
    none goes."""
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


def check_same(shard: Shard, source: Path, listed: pa.Table) -> None:
    """Raises UserError unless the file has the rows that were scanned.

    Their number is looked at, and the key and the kept columns of every row that goes.
    """
    names = {name.lower(): name for name in listed.column_names}
    pairs = [(names[name], own) for name, own in shard.columns if name in names]
    place = {row: at for at, row in enumerate(listed["row"].to_pylist())}
    said = {name: listed[name].to_pylist() for name, _ in pairs}
    rows = 0
    try:
        wanted = list(dict.fromkeys(own for _, own in pairs))
        for batch in read(str(source), wanted, quoting=shard.quoting):
            rows += len(batch.rows) + len(batch.bad)
            for name, own in pairs:
                _compare(shard, batch, own, said[name], place)
    except UnreadableFile as error:
        raise UserError(
            f"{shard.source}: cannot be read to its end ({error}), so no cleaned copy was made; "
            "mend the file or leave it out of the training set"
        ) from error
    except ValueError as error:
        raise _changed(shard, str(error)) from error
    if rows != shard.rows:
        raise _changed(shard, f"it has {rows:,} rows, and {shard.rows:,} were scanned")


def _compare(
    shard: Shard, batch: Batch, column: str, said: list[str | None], place: dict[int, int]
) -> None:
    rows = [(at, place[row]) for at, row in enumerate(batch.rows) if row in place]
    if not rows:
        return
    found = as_text(batch.columns[column])
    for at, there in rows:
        if said[there] is not None and found[at].as_py() != said[there]:
            raise _changed(
                shard,
                f"row {batch.rows[at]} has {column} = {found[at].as_py()!r}, and "
                f"{said[there]!r} was scanned",
            )


def _changed(shard: Shard, why: str) -> UserError:
    return UserError(
        f"{shard.source}: not the file that was scanned: {why}; no cleaned copy was made. Scan the "
        "data set again, or put the file back"
    )


def _listed(removals: Store, source: str) -> pa.Table:
    """The rows of a source to remove, with what the list says of them."""
    with removals.open(PARQUET) as file:
        chosen = (pc.field("source") == source) & pc.field("action").isin(REMOVED)
        return pq.read_table(file, filters=chosen)


def _local(url: str, folder: Path) -> Path:
    """A shard on this machine's disk, where it is not there already."""
    if "://" not in url:
        return Path(url)
    copy = folder / url.rsplit("/", 1)[1]
    with open_input(url) as remote, copy.open("wb") as file:
        shutil.copyfileobj(remote, file, 1 << 20)
    return copy
