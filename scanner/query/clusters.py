"""Cluster near-duplicate captions, in a run or in any table of captions, by their words."""

from collections.abc import Sequence
from functools import cache

import duckdb
import pyarrow as pa

from scanner.query.database import Database, interruptible
from scanner.query.library import FOLDER

MACROS = FOLDER / "macros"
# The macro makes a text without words one word.
_WORDS = r"""
    SELECT list_filter(words(text), lambda word: regexp_matches(word, '[\p{L}\p{M}\p{N}]'))
    FROM (SELECT unnest($texts::VARCHAR[]) AS text)"""


def create_macros(connection: duckdb.DuckDBPyConnection, names: str = "*") -> None:
    """Create the macros of sql/macros on a connection; all except clusters need a run's views."""
    for path in sorted(MACROS.glob(f"{names}.sql")):
        connection.execute(path.read_text(encoding="utf-8"))


def near_duplicate_clusters(captions: pa.Table) -> pa.Array:
    """Return one cluster id per row of ``captions`` (caption_id, caption), in the same order.

    A cluster's id is the caption_id of its central caption; a caption without near-duplicates is
    its own cluster. sql/macros/clusters.sql defines near-duplicates.
    """
    database = Database()
    connection = database.connection
    database.lock()
    create_macros(connection, "clusters")
    texts = captions["caption"]
    connection.register(
        "texts", pa.table({"row": pa.array(range(len(texts)), pa.int64()), "text": texts})
    )
    sql = "FROM near_duplicates((SELECT list({id: row, text: text}) FROM texts)) ORDER BY id"
    clusters = interruptible(connection, lambda: connection.sql(sql).to_arrow_table())
    return captions["caption_id"].combine_chunks().take(clusters["cluster"].combine_chunks())


def caption_words(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of each text in lower case, in order, as sql/macros/clusters.sql splits
    them; [] for a text without any."""
    with _database().cursor() as connection:
        rows = connection.execute(_WORDS, {"texts": [*texts]}).fetchall()
    return [words for (words,) in rows]


@cache
def _database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    create_macros(connection, "clusters")
    return connection
