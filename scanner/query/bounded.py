"""A DuckDB connection within bounds: of threads, memory, disk, files and time."""

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

MEMORY = "50%"
SPILL_SHARE = 0.5
# How long an interrupted query may take to notice; then its thread is left to itself.
PATIENCE = 0.5
STEP = 0.05
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


class Bounded:
    """An in-memory database of which queries use at most

    - as many threads as this process may use cores;
    - ``memory`` bytes, by default half of what the machine or the container has;
    - beyond that, half of what is free on the disk of the temporary directory (TMPDIR), in a
      directory that only this user can read. It is removed when the object is, or at exit.
    """

    def __init__(self, memory: int | None = None) -> None:
        self.connection = duckdb.connect()
        self.spill = Path(tempfile.mkdtemp(prefix="memscan-sql-"))
        weakref.finalize(self, shutil.rmtree, self.spill, ignore_errors=True)
        free = int(shutil.disk_usage(self.spill).free * SPILL_SHARE)
        self._set("threads", usable_cores())
        self._set("memory_limit", f"{memory} B" if memory else MEMORY)
        self._set("temp_directory", str(self.spill))
        self._set("max_temp_directory_size", f"{free} B")

    def lock(self, files: Sequence[str] = ()) -> None:
        """Allow these files and nothing else of the machine, for good: no other file, network,
        extension or variable of Python, and no change of settings."""
        self._set("allowed_paths", list(files))
        for name, value in _LOCKED.items():
            self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        self.connection.execute(f"SET GLOBAL {name} = $value", {"value": value})


def interruptible(
    connection: duckdb.DuckDBPyConnection, work: Callable[[], T], seconds: float | None = None
) -> T:
    """Return ``work()``, a query on the connection, in a thread of its own, so that Ctrl-C ends it.

    Raises UserError for DuckDB's errors, and where it takes longer than ``seconds``.
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
        # In steps, since Python handles a signal that another thread got between two steps only.
        while not wait([outcome], STEP).done:
            if deadline and time.monotonic() > deadline:
                _stop(connection, outcome)
                raise UserError(
                    f"SQL: stopped after {seconds:g} seconds (--timeout); narrow the query, or "
                    "allow more time"
                )
        return outcome.result()
    except KeyboardInterrupt:
        _stop(connection, outcome)
        raise
    except duckdb.Error as error:
        raise UserError(f"SQL: {error}") from error


def _stop(connection: duckdb.DuckDBPyConnection, outcome: Future[Any]) -> None:
    """Interrupt again and again: one that comes before the query has begun has no effect."""
    for _ in range(int(PATIENCE / STEP)):
        connection.interrupt()
        if wait([outcome], STEP).done:
            return
