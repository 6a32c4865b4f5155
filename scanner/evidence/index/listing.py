"""List the distinct images of a run or of files, in the order in which they are stored."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from scanner.captions.columns import ColumnOptions, Columns, resolve
from scanner.captions.formats import UnreadableFile, inspect, read, why_not_read
from scanner.captions.sidecars import reads_table, table_beside
from scanner.captions.values import as_text
from scanner.errors import UserError
from scanner.query import RunTables
from scanner.query.database import Database, interruptible
from scanner.query.quoting import identifier
from scanner.storage import Listing

ROWS = 1 << 16
READERS = 8


@dataclass(frozen=True)
class KeyColumns:
    """Columns that identify samples and images in files, by default found by name as in a scan.

    ``kept``: columns that the location of an image is made from.
    """

    key: str | None = None
    image_key: str | None = None
    kept: tuple[str, ...] = ()


def images_of_run(tables: RunTables, kept: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the distinct images of a run's samples, without reference samples, by source and row.

    The columns are those of shards without the vector, and ``kept``, which samples must have. An
    image stands for all samples of one image key, and has the first one's place.
    """
    columns = "".join(f", {identifier(name)}" for name in kept)
    samples = f'SELECT source, "row", key, image_key{columns} FROM samples WHERE NOT is_reference'
    yield from tables.batches(_distinct(samples, kept), ROWS)


def _distinct(samples: str, kept: Sequence[str]) -> str:
    names = [identifier(name) for name in ("source", "row", "key", "image_key", *kept)]
    one = ", ".join(f"{name}: {name}" for name in names)
    chosen = ", ".join(f"one.{name} AS {name}" for name in names)
    return f"""
        SELECT {chosen}, samples
        FROM (
            SELECT min_by({{{one}}}, (source, "row")) AS one, count(*) AS samples
            FROM ({samples})
            GROUP BY image_key, CASE WHEN image_key IS NULL THEN (source, "row") END
        )
        ORDER BY one.source, one."row" """


@dataclass
class FileListing:
    """The rows of input files. ``unreadable``: files that could not be read to their end, and
    why."""

    urls: list[str]
    unreadable: dict[str, str]

    @classmethod
    def of(cls, urls: Sequence[str]) -> "FileListing":
        """List the files that URLs, globs and directories name. Raises UserError."""
        files = Listing().add(urls, why_not_read)
        return cls(_without_pairs(files), {})

    def images(self, columns: KeyColumns) -> Iterator[pa.RecordBatch]:
        """Yield the distinct images of the files, as :func:`images_of_run`."""
        schema = _schema(columns.kept)
        database = Database()
        database.lock()
        connection = database.connection
        connection.register("arrow_rows", schema.empty_table())
        connection.execute("CREATE TABLE samples AS FROM arrow_rows")
        with ThreadPoolExecutor(READERS) as threads:
            for start in range(0, len(self.urls), READERS):
                some = self.urls[start : start + READERS]
                tables = threads.map(lambda url: list(self._rows(url, columns, schema)), some)
                for table in itertools.chain.from_iterable(tables):
                    connection.register("arrow_rows", table)
                    connection.execute("INSERT INTO samples FROM arrow_rows")
        sql = _distinct("FROM samples", columns.kept)
        reader = interruptible(connection, lambda: connection.sql(sql).to_arrow_reader(ROWS))
        while (batch := interruptible(connection, lambda: next(reader, None))) is not None:
            yield batch

    def _rows(self, url: str, wanted: KeyColumns, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows of a file; values that it lacks are null."""
        try:
            contents = inspect(url)
            columns = _columns(contents.columns, url, wanted, contents.is_open)
            quoting = contents.quoting
            for batch in read(url, columns.carried if columns else [], quoting=quoting):
                own = {name: as_text(values) for name, values in batch.columns.items()}
                # A bad row has no usable text, but it may have an image.
                rows = [*batch.rows, *(row for row, _ in batch.bad)]
                yield _table(url, rows, len(batch.rows), own, columns, schema)
        except (UserError, UnreadableFile) as error:
            self.unreadable[url] = str(error).removeprefix(f"{url}: ")


def _schema(kept: Sequence[str]) -> pa.Schema:
    texts = ("key", "image_key", *kept)
    return pa.schema(
        [("source", pa.string()), ("row", pa.int64()), *((name, pa.string()) for name in texts)]
    )


def _columns(have: Sequence[str], url: str, wanted: KeyColumns, is_open: bool) -> Columns | None:
    """Choose a file's columns as a scan does; any column stands for the caption, never read."""
    if not have:
        return None
    options = ColumnOptions(have[0], wanted.key, wanted.image_key, wanted.kept)
    return resolve(have, url, options, is_open)


def _table(
    url: str,
    rows: Sequence[int],
    good: int,
    own: dict[str, pa.StringArray],
    columns: Columns | None,
    schema: pa.Schema,
) -> pa.Table:
    def values(name: str | None) -> pa.Array:
        found = own[name] if name in own else pa.nulls(good, pa.string())
        return pa.concat_arrays([found, pa.nulls(len(rows) - good, pa.string())])

    kept = {name.lower(): name for name in columns.keep} if columns else {}
    return pa.table(
        [
            pa.repeat(pa.scalar(url), len(rows)),
            pa.array(rows, pa.int64()),
            values(columns.key if columns else None),
            values(columns.image_key if columns else None),
            *(values(kept.get(name.lower())) for name in schema.names[4:]),
        ],
        schema=schema,
    )


def _without_pairs(urls: list[str]) -> list[str]:
    """Return the files without the half of a tar and a table of one name that a scan skips."""
    known, skipped = set(urls), set()
    for tar in urls:
        table = table_beside(tar)
        if table in known:
            try:
                choice = reads_table(table, inspect(table).columns, tar)
            except UserError:
                choice = None
            skipped |= {tar} if choice else {table} if choice is not None else set()
    return [url for url in urls if url not in skipped]
