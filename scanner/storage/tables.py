"""Table formats in which a log, not the directory listing, lists the current data files."""

import tempfile
from pathlib import Path
from typing import Any

from scanner.errors import UserError
from scanner.storage.downloads import download, files_at
from scanner.storage.urls import url_of

DELTA_LOG = "_delta_log"
# Features with which a data file alone no longer defines its rows and columns.
UNREADABLE = {"deletionVectors", "columnMapping", "v2Checkpoint"}


def live_files(fs: Any, table: str) -> set[str]:
    """Return the data files of a Delta table's current version according to its log.

    Copies the log and reads it with the package ``deltalake``. Raises UserError if that is missing,
    if the log cannot be read, or if rows are deleted or columns renamed only in the log.
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
        files, _ = files_at(fs, f"{table}/{DELTA_LOG}")
        download(fs, files, copy / DELTA_LOG)
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
                f"{url}: a Delta table with {', '.join(sorted(features))}, whose files alone do "
                "not define its rows; write it out as plain Parquet"
            )
        # A name outside the table (of a shallow clone) stays unchanged and counts as missing.
        return {name.replace(str(copy), table, 1) for name in names}


def refuse_other_tables(url: str, parts: list[str]) -> None:
    """Raise UserError for a file that marks its directory as an Iceberg or Hudi table."""
    name = parts[-1]
    iceberg = parts[-2:-1] == ["metadata"] and name.endswith(".metadata.json")
    if iceberg or ".hoodie" in parts:
        kind = "an Apache Iceberg" if iceberg else "an Apache Hudi"
        raise UserError(
            f"{url}: the directory of {kind} table also holds files that are no longer part of "
            "it; write the table out as plain Parquet, or name its current files one by one"
        )
