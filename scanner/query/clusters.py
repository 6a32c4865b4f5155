"""Clusters of near-duplicate captions, in a run or without one."""

import duckdb
import pyarrow as pa

from scanner.query.bounded import Bounded, interruptible
from scanner.query.library import FOLDER

MACROS = FOLDER / "macros"


def create_macros(connection: duckdb.DuckDBPyConnection, names: str = "*") -> None:
    """Make the macros of sql/macros known to a connection; all but clusters need a run's views."""
    for path in sorted(MACROS.glob(f"{names}.sql")):
        connection.execute(path.read_text(encoding="utf-8"))


def near_duplicate_clusters(captions: pa.Table) -> pa.Array:
    """One cluster id a row of ``captions`` (caption_id, caption), in the same order.

    Rows with one id are near-duplicates of one caption, whose caption_id is the id; a caption
    without near-duplicates is a cluster of its own. sql/macros/clusters.sql says what that means.
    """
    database = Bounded()
    connection = database.connection
    database.lock()
    create_macros(connection, "clusters")
    texts = captions["caption"]
    connection.register(
        "given", pa.table({"row": pa.array(range(len(texts)), pa.int64()), "text": texts})
    )
    question = "FROM near_duplicates((SELECT list({id: row, text: text}) FROM given)) ORDER BY id"
    found = interruptible(connection, lambda: connection.sql(question).to_arrow_table())
    return captions["caption_id"].combine_chunks().take(found["cluster"].combine_chunks())
