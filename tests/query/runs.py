"""Sealed runs of a few literal rows, with the columns that a scan of a profile writes."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from scanner.run.schema import column
from scanner.scoring.text import CONTROL_FIELDS
from scanner.scoring.triggers import TRIGGER_FIELD
from tests.sealed import seal_run

HIGHER, LOWER = {"memorized": "higher"}, {"memorized": "lower"}
SCORES = pa.schema(
    [
        column("caption_id", pa.string(), "id"),
        column("entropy_e", pa.float32(), "e").with_metadata(HIGHER),
        column("bos_mass", pa.float32(), "b").with_metadata(LOWER),
        column("noise_norm_first", pa.float32(), "n").with_metadata(HIGHER),
        column("noise_norm_first_seeds", pa.list_(pa.float32()), "each seed"),
        TRIGGER_FIELD,
        *CONTROL_FIELDS,
        column("seeds", pa.int32(), "s"),
        column("truncated", pa.bool_(), "t"),
    ]
)


def trigger(caption: str, word: str, mass: float = 0.2) -> dict[str, Any]:
    """The trigger word as a scan describes it."""
    start = caption.index(word)
    return {
        "start": start,
        "end": start + len(word),
        "text": word,
        "token_index": 1,
        "mass": mass,
        "lift": 2.0,
    }


def make_run(
    folder: Path,
    rows: list[dict[str, Any]],
    rejects: list[dict[str, Any]] | None = None,
    fingerprint: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
) -> str:
    """A sealed run. A row: caption_id, caption, and where they differ from the defaults n_samples,
    is_reference, source, url and columns of the scores; scored False: it has no score."""
    samples = [
        {
            "caption_id": row["caption_id"],
            "row": number,
            **{name: row[name] for name in ("source", "url", "is_reference") if name in row},
        }
        for row in rows
        for number in range(row.get("n_samples", 1))
    ]
    captions = [
        {name: row[name] for name in ("caption_id", "caption", "is_reference") if name in row}
        for row in rows
    ]
    usual = {"triggers": [], "seeds": 1, "truncated": False, "n_tokens": 5}
    scores = [
        {**usual, **{name: row[name] for name in SCORES.names if name in row}}
        for row in rows
        if row.get("scored", True)
    ]
    return seal_run(
        folder,
        samples,
        captions,
        pa.Table.from_pylist(scores, SCORES),
        kept=(column("url", pa.string(), "kept"),),
        rejects=rejects or [],
        record={"fingerprint": {"id": "f", **(fingerprint or {})}, **(record or {})},
    )
