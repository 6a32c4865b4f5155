"""Queries stay within limits of time, memory and disk, and clean up."""

import _thread
import threading
import time
from pathlib import Path

import pytest

from scanner.cores import usable_cores
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from scanner.query.database import Database, interruptible
from tests.memscan import called

ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1"
LARGE = "SELECT range FROM range(4000000) ORDER BY hash(range)"


@pytest.mark.slow
@pytest.mark.parametrize("ask", ["query", "batches", "create_table"])
def test_ctrl_c_stops_a_query(tables: RunTables, ask: str) -> None:
    work = {
        "query": lambda: tables.query(ENDLESS),
        "batches": lambda: list(tables.batches(ENDLESS, 10)),
        "create_table": lambda: tables.create_table("kept", ENDLESS, {}),
    }
    threading.Timer(0.5, _thread.interrupt_main).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work[ask]()
    assert time.monotonic() - began < 5
    assert len(tables.query("FROM scores")) > 0


@pytest.mark.slow
def test_a_query_that_exceeds_its_timeout_is_stopped(run: str) -> None:
    began = time.monotonic()
    done = called("sql", run, ENDLESS, "--timeout", "0.3", check=False)
    assert done.returncode == 1
    assert "stopped after 0.3 seconds (--timeout)" in done.stderr
    assert time.monotonic() - began < 10
    assert called("sql", run, "SELECT 1", "--timeout", "60").returncode == 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_timeout_is_a_number_of_seconds(run: str, seconds: str) -> None:
    done = called("sql", run, "SELECT 1", f"--timeout={seconds}", check=False)
    assert done.returncode == 2
    assert "--timeout" in done.stderr


@pytest.mark.slow
def test_a_query_spills_to_a_private_directory_that_is_removed(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spill").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spill"))
    monkeypatch.chdir(tmp_path / "cwd")
    tables = open_run(run, memory=40_000_000)
    (spill,) = (tmp_path / "spill").iterdir()
    assert spill.stat().st_mode & 0o777 == 0o700
    batches = tables.batches(LARGE, 1000)
    next(batches)
    assert sum(path.stat().st_size for path in spill.rglob("*")) > 1_000_000
    batches.close()
    del batches, tables
    assert not spill.exists()
    assert list((tmp_path / "cwd").iterdir()) == []


def test_spilling_beyond_the_limit_is_a_one_line_error() -> None:
    connection = Database(memory=40_000_000, spill_share=0.0).connection
    with pytest.raises(UserError, match="SQL: Out of Memory"):
        interruptible(connection, lambda: connection.sql(LARGE).fetchall())


def test_every_connection_has_resource_limits() -> None:
    def settings(database: Database) -> dict[str, str]:
        return dict(database.connection.sql("SELECT name, value FROM duckdb_settings()").fetchall())

    found = settings(Database(memory=2**30))
    assert found["memory_limit"] == "1.0 GiB"
    assert found["threads"] == str(usable_cores())
    assert found["max_temp_directory_size"].endswith("iB")
    database = Database()
    database.lock()
    assert settings(database)["lock_configuration"] == "true"
