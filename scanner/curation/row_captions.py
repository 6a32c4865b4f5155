"""Curate the rows of a run with several captions per row: a row is removed or kept as a whole.

Of a row's captions, one decides: a protected one (keep), else one that is dropped, capped or
recaptioned, in this order, and among them the one with the first rule. The row counts towards the
cap of that caption only.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from scanner.curation.narrowed_samples import samples_without
from scanner.query import RunTables
from scanner.run.schema import CAPTION_COLUMN

COLUMN = CAPTION_COLUMN.name
SAME_IMAGE = "same-image"
_PRECEDENCE = "list_position(['keep', 'drop', 'cap', 'recaption'], action)"
# The captions of rows with a flagged caption that do not decide.
_OTHERS = f"""
    WITH deciding AS (
        SELECT source, "row",
               min_by({COLUMN}, row({_PRECEDENCE}, flagged.rule, {COLUMN})) AS deciding
        FROM samples JOIN flagged USING (caption_id)
        WHERE NOT is_reference GROUP BY source, "row"
    )
    SELECT samples.* FROM samples JOIN deciding USING (source, "row")
    WHERE NOT is_reference AND {COLUMN} <> deciding"""


def has_row_captions(tables: RunTables) -> bool:
    """Return whether rows have several captions."""
    return COLUMN in tables.query("FROM samples LIMIT 0").column_names


@contextmanager
def deciding_captions(tables: RunTables) -> Iterator[None]:
    """Leave only the deciding caption of each flagged row in the view samples; the others are in
    the table other_captions. Needs the view flagged."""
    tables.create_table("other_captions", _OTHERS, {})
    with samples_without(tables, "other_captions", f'source, "row", {COLUMN}'):
        yield


def with_other_captions(columns: str) -> str:
    """Return SQL for the table decided with all captions of each removed row.

    ``columns``: SQL for the columns of other_captions by their names in the list.
    """
    return f"""
        SELECT * FROM decided UNION ALL BY NAME
        SELECT {columns}, decision.* EXCLUDE ("_source", "_row")
        FROM (SELECT * FROM other_captions) AS others JOIN (
            SELECT source AS "_source", "row" AS "_row", action, rule, caption_id AS via,
                   CASE WHEN list_contains(reasons, '{SAME_IMAGE}') THEN reasons
                        ELSE reasons || ['{SAME_IMAGE}'] END AS reasons,
                   cluster, probability, signal, score
            FROM decided WHERE action IN ('drop', 'cap')
        ) AS decision ON source = "_source" AND "row" = "_row"
        """
