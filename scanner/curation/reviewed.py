"""How a removal list compares with what people decided (memscan review)."""

from dataclasses import dataclass

from scanner.plurals import pluralize
from scanner.query import RunTables

_REVIEWED = """
    WITH removed AS (
        SELECT DISTINCT caption_id FROM listed WHERE action IN ('drop', 'cap')
    )
    SELECT count(*) AS captions,
           count(*) FILTER (decision = 'keep') AS keep,
           count(*) FILTER (decision = 'cap') AS cap,
           count(*) FILTER (decision = 'drop') AS "drop",
           count(*) FILTER (is_disputed) AS disputed,
           count(*) FILTER (decision = 'keep' AND removed.caption_id IS NOT NULL) AS kept_removed,
           count(*) FILTER (decision = 'drop' AND removed.caption_id IS NULL) AS dropped_kept
    FROM reviewed LEFT JOIN removed USING (caption_id)"""


@dataclass(frozen=True)
class Reviewed:
    """Captions that people labeled or decided about.

    ``disputed``: reviewers differ about the decision or the label, and no rule on what they differ
    about matches; ``kept_removed``: decided as keep, but samples are removed; ``dropped_kept``:
    decided as drop, but no sample is removed.
    """

    captions: int
    keep: int
    cap: int
    drop: int
    disputed: int
    kept_removed: int
    dropped_kept: int

    def to_text(self) -> list[str]:
        """Return the comparison as lines; none if nobody decided anything."""
        if not self.captions:
            return []
        lines = [
            f"reviewed by people: {pluralize(self.captions, 'caption')} (keep {self.keep:,}, "
            f"cap {self.cap:,}, drop {self.drop:,}, disputed {self.disputed:,})"
        ]
        if self.kept_removed:
            lines.append(
                f"warning: {pluralize(self.kept_removed, 'caption')} that people keep would lose "
                'samples, by a list or because the first rule is not when = "decision = '
                '\'keep\'", action = "keep"'
            )
        if self.dropped_kept:
            lines.append(
                f"warning: {pluralize(self.dropped_kept, 'caption')} that people drop would stay, "
                "because they have no score or no rule is when = \"decision = 'drop'\", action = "
                '"drop"'
            )
        return lines


def compare_with_decisions(tables: RunTables) -> Reviewed:
    """Compare the table listed with the decisions of people."""
    (row,) = tables.query(_REVIEWED).to_pylist()
    return Reviewed(**row)
