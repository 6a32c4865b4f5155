"""Measure how much of the training set a run has scored."""

from dataclasses import dataclass

from scanner.query.connection import RunTables
from scanner.run import Run

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
class Coverage:
    """``samples`` of the training set, their distinct ``captions``, and how many of these captions
    are ``planned``, ``scored`` and ``rejected``.

    ``limit``: the scan's ``--limit`` on planned captions, or None. ``references``: reference
    captions, which the other counts exclude. ``not_scanned``: planned captions, among them
    references, that were left when --budget-hours ended the scan.
    """

    samples: int
    captions: int
    planned: int
    scored: int
    rejected: int
    limit: int | None
    references: int
    not_scanned: int = 0

    @property
    def unscored(self) -> tuple[str, ...]:
        """Return why captions have no score, as text; empty if all have one."""
        missing = self.planned - self.scored - self.rejected
        not_scanned = min(missing, self.not_scanned)
        causes = {
            f"scan --limit {self.limit}": self.captions - self.planned,
            f"{self.rejected:,} rejected by the scan": self.rejected,
            f"{not_scanned:,} not scanned (--budget-hours)": not_scanned,
            f"{missing - not_scanned:,} quarantined": missing - not_scanned,
        }
        return tuple(cause for cause, captions in causes.items() if captions)


def measure_coverage(tables: RunTables) -> Coverage:
    """Count the samples and captions of a run."""
    run = Run.existing(tables.url)
    record, manifest = run.record() or {}, run.manifest() or {}
    references = tables.query("SELECT count(*) AS n FROM reference_captions")["n"][0].as_py()
    row = tables.query(_TRAINED).to_pylist()[0]
    return Coverage(
        **row,
        limit=record.get("inputs", {}).get("limit"),
        references=references,
        not_scanned=manifest.get("counts", {}).get("not_scanned", 0),
    )
