"""A DuckDB connection with limited threads, memory, disk space, files and time."""

import re
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from scanner.cores import usable_cores
from scanner.errors import UserError
from scanner.memory import usable_memory

MEMORY_SHARE = 0.5
SPILL_SHARE = 0.5
# How long to wait for an interrupted query before abandoning its thread.
INTERRUPT_SECONDS = 0.5
POLL_SECONDS = 0.05
_LOCKED = {
    "TimeZone": "UTC",
    "python_enable_replacements": False,
    "python_scan_all_frames": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "enable_external_access": False,
    "lock_configuration": True,
}

T = TypeVar("T")


class Database:
    """An in-memory database whose queries use at most

    - one thread per core available to this process;
    - ``memory`` bytes, by default half of the machine's or container's;
    - beyond that, ``spill_share`` of the free disk space of the temporary directory (TMPDIR), in a
      private directory that is removed with this object or at exit.
    """

    def __init__(self, memory: int | None = None, spill_share: float = SPILL_SHARE) -> None:
        self.connection = duckdb.connect()
        self.spill = Path(tempfile.mkdtemp(prefix="memscan-sql-"))
        weakref.finalize(self, shutil.rmtree, self.spill, ignore_errors=True)
        free = int(shutil.disk_usage(self.spill).free * spill_share)
        self._set("threads", usable_cores())
        self._set("memory_limit", f"{memory or int(usable_memory() * MEMORY_SHARE)} B")
        # Footers of a run's files, which do not change: else each query of one row reads them all.
        self._set("parquet_metadata_cache", True)
        self._set("temp_directory", str(self.spill))
        self._set("max_temp_directory_size", f"{free} B")

    def lock(self, files: Sequence[str] = ()) -> None:
        """Irrevocably restrict the connection to these files: no other file, no network,
        extensions, Python variables or changes of settings."""
        self._set("allowed_paths", list(files))
        for name, value in _LOCKED.items():
            self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        self.connection.execute(f"SET GLOBAL {name} = $value", {"value": value})


def interruptible(
    connection: duckdb.DuckDBPyConnection, work: Callable[[], T], seconds: float | None = None
) -> T:
    """Return ``work()``, a query on the connection, run in a thread to let Ctrl-C stop it.

    Raises UserError for DuckDB's errors, and if it takes longer than ``seconds``.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="query", daemon=True).start()
    try:
        deadline = time.monotonic() + seconds if seconds else None
        # Polls, because Python handles signals only between calls of the main thread.
        while not wait([outcome], POLL_SECONDS).done:
            if deadline and time.monotonic() > deadline:
                _stop(connection, outcome)
                raise UserError(
                    f"SQL: stopped after {seconds:g} seconds (--timeout); narrow the query or "
                    "increase --timeout"
                )
        return outcome.result()
    except KeyboardInterrupt:
        _stop(connection, outcome)
        raise
    except duckdb.Error as error:
        raise UserError(f"SQL: {error}{repair_of(error)}") from error


# Of a Parquet file that is cut short, changed, or not there (DuckDB then looks for a folder of its
# name, which it may not read).
_DAMAGE = re.compile(
    r"No magic bytes|TProtocolException|too small to be a Parquet|[Dd]ecompress|Snappy|ZSTD"
    r"|\.parquet/\*\*/\*\.parquet|No files found that match"
)
# Their messages quote the user's SQL or a value.
_OF_THE_QUERY = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.ParserException,
)
REPAIR = (
    "; a file of the run is damaged or missing: rerun the memscan scan that made it with --repair, "
    "which makes scores again; for samples and captions, scan into a new --out"
)


def repair_of(error: duckdb.Error) -> str:
    """Return the remedy if a file of the run is damaged or missing, else ""."""
    is_of_query = isinstance(error, _OF_THE_QUERY)
    return REPAIR if not is_of_query and _DAMAGE.search(str(error)) else ""


def _stop(connection: duckdb.DuckDBPyConnection, outcome: Future[Any]) -> None:
    """Interrupt repeatedly: an interrupt before the query has started has no effect."""
    for _ in range(int(INTERRUPT_SECONDS / POLL_SECONDS)):
        connection.interrupt()
        if wait([outcome], POLL_SECONDS).done:
            return
