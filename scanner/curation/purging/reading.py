"""Read the files of a run row group by row group, in bounded memory, even if they are hostile."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.parquet import open_parquet
from scanner.captions.row_groups import read_row_group
from scanner.errors import UserError
from scanner.run.part_tables import read_part_groups
from scanner.run.records import Part
from scanner.run.results import DamagedPart
from scanner.storage import Store, is_transient

# Of the captions in a part of verdicts, which may be long, beyond the usual bytes per row.
TEXT_BYTES = 256 << 20
REMEDY = "restore the file from a copy, or make it again by the command that wrote it"


@dataclass(frozen=True)
class Groups:
    """An open file; ``read`` yields some columns of each row group."""

    parquet: pq.ParquetFile
    read: Callable[[Sequence[str]], Iterator[pa.Table]]

    @property
    def columns(self) -> list[str]:
        return self.parquet.schema_arrow.names


@contextmanager
def open_file(store: Store, path: str) -> Iterator[Groups]:
    """Open a file that a plan names, which has no checksum.

    Raises UserError, also while it is read, if it is missing or damaged or exceeds a limit.
    """
    with _reading(store, path):
        opened = store.open(path, cache_type="none")
    with opened as file:
        with _reading(store, path):
            parquet = open_parquet(file)

        def read(names: Sequence[str]) -> Iterator[pa.Table]:
            for group in range(parquet.metadata.num_row_groups):
                with _reading(store, path):
                    table = read_row_group(file, parquet, group, names)
                yield table

        yield Groups(parquet, read)


@contextmanager
def open_part(store: Store, part: Part) -> Iterator[Groups]:
    """Open a committed part, compared with its checksum. Raises UserError as :func:`open_file`."""
    try:
        parquet, tables = read_part_groups(store, part, TEXT_BYTES)
    except DamagedPart as error:
        raise damaged(store, str(error)) from error
    yield Groups(parquet, lambda names: (table.select(names) for table in tables))


@contextmanager
def _reading(store: Store, path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if is_transient(error):
            raise
        raise damaged(store, f"{path} is damaged ({error})") from error


def damaged(store: Store, why: str) -> UserError:
    """Return the error for a file that cannot be purged."""
    return UserError(f"{store.url}: {why}; {REMEDY}")
