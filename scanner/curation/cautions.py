"""Cautions about a removal list: samples that were never scored, and shared image keys."""

from dataclasses import dataclass

from scanner.plurals import pluralize
from scanner.query import RunTables, measure_coverage

# Warn about an image key only if it has more samples, and a larger share of all, than this.
SHARED_SAMPLES = 10
SHARED_SHARE = 0.01
SHOWN_LETTERS = 100
_UNSCORED = """
    SELECT count(*) AS samples, count(DISTINCT caption_id) AS captions
    FROM (SELECT source, "row", caption_id FROM samples WHERE NOT is_reference)
    ANTI JOIN scores USING (caption_id)
    ANTI JOIN (FROM listed WHERE action IN ('drop', 'cap')) USING (source, "row")"""
# Samples removed with an image are in the list, so grouping the list is enough.
_SHARED = """
    WITH most_listed AS (
        SELECT image_key FROM listed WHERE image_key IS NOT NULL
        GROUP BY image_key
        HAVING count(*) >= $samples AND count(*) > $share AND count(DISTINCT caption_id) > 1
        ORDER BY count(*) DESC, image_key LIMIT 1
    )
    SELECT image_key, count(*) AS samples, count(DISTINCT caption_id) AS captions
    FROM samples JOIN most_listed USING (image_key)
    WHERE NOT is_reference
    GROUP BY image_key"""


@dataclass(frozen=True)
class Unscored:
    """Samples kept because their captions have no score, the number of these captions, and why
    they were not scored."""

    samples: int
    captions: int
    why: tuple[str, ...]

    def to_text(self) -> str:
        causes = "".join(f"; {why}" for why in self.why)
        captions = pluralize(self.captions, "caption")
        return f"of these: never scored, so no rule can match ({captions}{causes})"


@dataclass(frozen=True)
class SuspiciousImageKey:
    """An image key with several captions, at least ten samples and more than 1 % of all samples."""

    image_key: str
    samples: int
    captions: int

    def to_text(self) -> str:
        return (
            f"{self.samples:,} samples of {self.captions:,} captions share the image key "
            f"{self.image_key[:SHOWN_LETTERS]!r} and are treated as one image; if they are "
            "different images, use --image-key none or another column"
        )


def unscored(tables: RunTables) -> Unscored:
    """Count the unscored samples that the table listed does not remove."""
    (counts,) = tables.query(_UNSCORED).to_pylist()
    if not counts["samples"]:
        return Unscored(**counts, why=())
    return Unscored(**counts, why=measure_coverage(tables).unscored)


def suspicious_image_key(tables: RunTables, samples: int) -> SuspiciousImageKey | None:
    """Return the image key with the most samples in the table listed, if that is too many to be one
    image; ``samples``: number of all samples."""
    parameters = {"samples": SHARED_SAMPLES, "share": SHARED_SHARE * samples}
    rows = tables.query(_SHARED, parameters).to_pylist()
    return SuspiciousImageKey(**rows[0]) if rows else None
