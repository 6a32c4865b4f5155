"""How much of the training set a run has scored."""

from dataclasses import dataclass

from scanner.query.connection import RunTables

_TRAINED = """
    WITH trained AS (
        SELECT caption_id, count(*) AS n FROM samples WHERE NOT is_reference GROUP BY caption_id
    )
    SELECT coalesce(sum(n), 0)::BIGINT AS samples, count(*) AS captions,
           count(texts.caption_id) AS planned, count(scores.caption_id) AS scored,
           count(rejected.caption_id) AS rejected
    FROM trained
    LEFT JOIN (SELECT caption_id FROM texts) AS texts USING (caption_id)
    LEFT JOIN (SELECT caption_id FROM scores) AS scores USING (caption_id)
    LEFT JOIN (SELECT caption_id FROM rejects WHERE stage = 'scan') AS rejected
    USING (caption_id)"""


@dataclass(frozen=True)
class Scanned:
    """``samples`` of the training set, the distinct ``captions`` that they have, and how many of
    these are ``planned``, ``scored`` and ``rejected``.

    ``limit``: the scan's, beyond which no caption is planned; None without one. ``references``:
    captions never trained on, which are not among the others.
    """

    samples: int
    captions: int
    planned: int
    scored: int
    rejected: int
    limit: int | None
    references: int

    @property
    def unscored(self) -> tuple[str, ...]:
        """Why some of the captions have no score, for a person; empty where all have one."""
        quarantined = self.planned - self.scored - self.rejected
        causes = {
            f"scan --limit {self.limit}": self.captions - self.planned,
            f"{self.rejected:,} rejected by the scan": self.rejected,
            f"{quarantined:,} quarantined": quarantined,
        }
        return tuple(cause for cause, captions in causes.items() if captions)


def scanned(tables: RunTables, limit: int | None) -> Scanned:
    """Count them."""
    references = tables.query("SELECT count(*) AS n FROM reference_captions")["n"][0].as_py()
    row = tables.query(_TRAINED).to_pylist()[0]
    return Scanned(**row, limit=limit, references=references)
