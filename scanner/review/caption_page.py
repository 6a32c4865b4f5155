"""What the page of one caption shows."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scanner.query import RunTables
from scanner.report.shading import TextSpan, shade_captions
from scanner.review.index import Caption, ReviewIndex
from scanner.review.near import near_duplicates
from scanner.review.samples import CaptionSamples

SHOWN_NEAR = 20
SHOWN_OTHERS = 20
_SCORES = "SELECT * FROM scored WHERE caption_id = $id"
_VERDICT = "SELECT * FROM verdicts WHERE caption_id = $id"
_OTHERS = """
    SELECT caption_id, count(*) AS samples FROM samples
    WHERE list_contains($keys, image_key) AND caption_id <> $id AND NOT is_reference
    GROUP BY caption_id ORDER BY samples DESC, caption_id LIMIT $most"""
_PERCENTS = [k / 100 for k in range(101)]
_REFERENCE = f"""
    SELECT signal, count(*) AS captions, quantile_cont(oriented, {_PERCENTS}) AS percentiles
    FROM (SELECT unnest(by_signal, recursive := true) FROM {{rows}})
    WHERE oriented IS NOT NULL GROUP BY signal"""


@dataclass(frozen=True)
class SignalRow:
    """A signal of a caption. ``percentile``: share of the reference that is less like memorized,
    None if there is no reference for it; ``low``, ``high``, ``at``: the middle 98 % of the
    reference and the caption in [0, 1] of the drawn range."""

    name: str
    value: float
    percentile: float | None
    low: float
    high: float
    at: float


@dataclass(frozen=True)
class CaptionContent:
    """Everything about a caption but its samples, images and decisions. ``near``: near-duplicates
    with their Jaccard index. ``source_of``: captions of the image that verify found in an index."""

    caption: Caption
    spans: list[TextSpan]
    scores: dict[str, Any]
    signals: list[SignalRow]
    verdict: dict[str, Any] | None
    near: list[tuple[Caption, float]]
    generated: int
    source_of: list[Caption]


@dataclass
class CaptionReader:
    """Reads captions for their pages. ``reference``: what signals are compared with, in words.
    ``verified``: the ids of captions with a verdict."""

    tables: RunTables
    index: ReviewIndex
    tokenizer: Any | None
    samples: CaptionSamples
    verified: Container[str]
    reference: str = field(init=False)
    _percentiles: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        references = "(FROM scored SEMI JOIN reference_captions USING (caption_id) LIMIT 100000)"
        rows = self.tables.query(_REFERENCE.format(rows=references)).to_pylist()
        self.reference = f"{rows[0]['captions']:,} reference captions" if rows else ""
        if not rows:
            rows = self.tables.query(_REFERENCE.format(rows="sampled")).to_pylist()
            count = max((row["captions"] for row in rows), default=0)
            self.reference = f"{count:,} captions (the run has no reference captions)"
        self._percentiles = {row["signal"]: np.array(row["percentiles"]) for row in rows}

    def read(self, caption: Caption) -> CaptionContent:
        """Read what the page of a caption shows."""
        given = {"id": caption.caption_id}
        (scores, *_) = self.tables.query(_SCORES, given).to_pylist() or [{"by_signal": []}]
        is_verified = caption.caption_id in self.verified
        (verdict,) = self.tables.query(_VERDICT, given).to_pylist() if is_verified else [None]
        row = {"triggers": [], **scores, "caption": caption.caption}
        return CaptionContent(
            caption=caption,
            spans=shade_captions([row], self.tokenizer)[0],
            scores=scores,
            signals=[self._signal(one) for one in scores["by_signal"] if one["value"] is not None],
            verdict=verdict,
            near=near_duplicates(self.index, caption)[:SHOWN_NEAR],
            generated=len(verdict["images"] or []) if verdict else 0,
            source_of=self._found((verdict or {}).get("source_caption_ids") or []),
        )

    def others_of_image(self, caption_id: str) -> list[Caption]:
        """Return other captions of the caption's images, from a scan of all samples."""
        rows = self.samples.of(caption_id)
        keys = list({row["image_key"] for row in rows if row["image_key"]})
        if not keys:
            return []
        given = {"keys": keys, "id": caption_id, "most": SHOWN_OTHERS}
        return self._found(self.tables.query(_OTHERS, given)["caption_id"].to_pylist())

    def _found(self, ids: list[str]) -> list[Caption]:
        captions = map(self.index.find, ids)
        return [caption for caption in captions if caption is not None]

    def _signal(self, one: dict[str, Any]) -> SignalRow:
        percentiles = self._percentiles.get(one["signal"])
        if percentiles is None:
            return SignalRow(one["signal"], one["value"], None, 0, 0, 0)
        value = one["oriented"]
        least, most = min(percentiles[0], value), max(percentiles[-1], value)
        width = (most - least) or 1.0
        low, high, at = ((x - least) / width for x in (percentiles[1], percentiles[99], value))
        below = float(np.searchsorted(percentiles, value, side="left")) / len(percentiles)
        return SignalRow(one["signal"], one["value"], below, float(low), float(high), float(at))
