"""What to know of a removal list beside its rules: what was never scored, and shared image keys."""

from dataclasses import dataclass

from scanner.curation.wording import counted
from scanner.query import RunTables, scanned
from scanner.run import Run

# An image key of fewer samples, or of a smaller share of all, is not worth a warning.
SHARED_SAMPLES = 10
SHARED_SHARE = 0.01
SHOWN_LETTERS = 100
_UNSCORED = """
    SELECT count(*) AS samples, count(DISTINCT caption_id) AS captions
    FROM (SELECT source, "row", caption_id FROM samples WHERE NOT is_reference)
    ANTI JOIN scores USING (caption_id)
    ANTI JOIN (FROM listed WHERE action IN ('drop', 'cap')) USING (source, "row")"""
# What goes with an image is in the list, so that no other samples need to be grouped.
_SHARED = """
    WITH listed_most AS (
        SELECT image_key FROM listed WHERE image_key IS NOT NULL
        GROUP BY image_key
        HAVING count(*) >= $samples AND count(*) > $share AND count(DISTINCT caption_id) > 1
        ORDER BY count(*) DESC, image_key LIMIT 1
    )
    SELECT image_key, count(*) AS samples, count(DISTINCT caption_id) AS captions
    FROM samples JOIN listed_most USING (image_key)
    WHERE NOT is_reference
    GROUP BY image_key"""


@dataclass(frozen=True)
class Unscored:
    """Samples that stay since their captions have no score, how many captions, and what in the
    scan left some without one."""

    samples: int
    captions: int
    why: tuple[str, ...]

    def to_text(self) -> str:
        causes = "".join(f"; {why}" for why in self.why)
        captions = counted(self.captions, "caption")
        return f"of these: never scored, so that no rule holds for them ({captions}{causes})"


@dataclass(frozen=True)
class SharedImage:
    """An image key with more than one caption and more than 1 % of all samples, ten at least."""

    image_key: str
    samples: int
    captions: int

    def to_text(self) -> str:
        return (
            f"{self.samples:,} samples under {self.captions:,} captions have one image key, "
            f"{self.image_key[:SHOWN_LETTERS]!r}, and count as one image: where they are not, give "
            "--image-key none, or another column"
        )


def unscored(tables: RunTables, run: str) -> Unscored:
    """Of a sealed run, and its table listed."""
    (found,) = tables.query(_UNSCORED).to_pylist()
    if not found["samples"]:
        return Unscored(**found, why=())
    record = Run.existing(run).record() or {}
    return Unscored(**found, why=scanned(tables, record["inputs"].get("limit")).unscored)


def shared_image(tables: RunTables, samples: int) -> SharedImage | None:
    """The image key with most samples in the table listed, if it is that of too many of all the
    ``samples`` to be one image's."""
    parameters = {"samples": SHARED_SAMPLES, "share": SHARED_SHARE * samples}
    found = tables.query(_SHARED, parameters).to_pylist()
    return SharedImage(**found[0]) if found else None
