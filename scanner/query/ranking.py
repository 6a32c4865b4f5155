"""The ranking: which captions are most likely memorized, by which signal, and why."""

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
    """The first ``top`` rows of sql/rank.sql.

    ``by``: the signal that decides; ``where``: a predicate on the view ranked. Raises UserError.
    """
    tables.decide(by, where)
    return tables.query(library()["rank"].sql, {"top": top, "min_samples": min_samples})
