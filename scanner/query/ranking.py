"""Rank captions, most likely memorized first."""

import pyarrow as pa

from scanner.query.connection import RunTables
from scanner.query.library import library


def rank(
    tables: RunTables,
    top: int = 100,
    by: str | None = None,
    min_samples: int = 0,
    where: str = "true",
) -> pa.Table:
    """Return the first ``top`` rows of sql/rank.sql.

    ``by``: the signal to rank by; ``where``: a predicate on the view ranked. Raises UserError if
    either is invalid.
    """
    tables.rank_by(by, where)
    return tables.query(library()["rank"].sql, {"top": top, "min_samples": min_samples})
