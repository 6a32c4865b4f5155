"""Directories that are tables: a log, not the listing, says which data files are current."""

import tempfile
from pathlib import Path
from typing import Any

from scanner.errors import UserError
from scanner.storage.urls import url_of

DELTA_LOG = "_delta_log"
# Features by which a data file alone no longer tells its rows and columns.
UNREADABLE = {"deletionVectors", "columnMapping", "v2Checkpoint"}


def live_files(fs: Any, table: str) -> set[str]:
    """Return the data files of a Delta table's current version, by its log.

    The log is copied and read by the package ``deltalake``. Raises UserError if that is missing,
    if the log cannot be read, or if rows are deleted or columns renamed by the log alone.
    """
    url = url_of(fs, table)
    by_name = "or name the Parquet files to read one by one"
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise UserError(
            f"{url}: a Delta table, whose directory also holds files that are no longer part of "
            f"it; pip install 'memorization-scanner[delta]', {by_name}"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "table")
        for name in fs.find(f"{table}/{DELTA_LOG}"):
            target = copy / name[len(table) :].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(name, str(target))
        try:
            opened = DeltaTable(str(copy))
            features = set(opened.protocol().reader_features or ()) & UNREADABLE
            names = [name.removeprefix("file://") for name in opened.file_uris()]
        except (DeltaError, OSError, ValueError) as error:
            raise UserError(
                f"{url}: a Delta table whose log cannot be read ({str(error).splitlines()[0]}); "
                f"repair it, {by_name}"
            ) from error
        if features:
            raise UserError(
                f"{url}: a Delta table with {', '.join(sorted(features))}, so that its files alone "
                "do not tell its rows; write it out as plain Parquet"
            )
        # A name that does not lie in the table (a shallow clone's) stays as it is, and is missed.
        return {name.replace(str(copy), table, 1) for name in names}


def refuse_other_tables(url: str, parts: list[str]) -> None:
    """Raise UserError for a file that shows its directory to be an Iceberg or Hudi table."""
    name = parts[-1]
    iceberg = parts[-2:-1] == ["metadata"] and name.endswith(".metadata.json")
    if iceberg or ".hoodie" in parts:
        kind = "an Apache Iceberg" if iceberg else "an Apache Hudi"
        raise UserError(
            f"{url}: the directory of {kind} table also holds files that are no longer part of "
            "it; write the table out as plain Parquet, or name its current files one by one"
        )
