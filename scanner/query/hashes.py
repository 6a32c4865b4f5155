"""Hashes of texts as DuckDB computes them, to look up rows of queries that return them."""

from collections.abc import Sequence
from functools import cache

import duckdb
import numpy as np
from numpy.typing import NDArray

# Hashes may differ between versions.
ENGINE = f"duckdb {duckdb.__version__}"


def hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return ``hash(text)`` of each text, as a query of the same process does."""
    with _database().cursor() as connection:
        sql = "SELECT hash(unnest($texts::VARCHAR[])) AS hash"
        return connection.execute(sql, {"texts": [*texts]}).fetchnumpy()["hash"]


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()
