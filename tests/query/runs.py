"""Sealed runs of a few literal rows, with the columns that a scan of a profile writes."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from scanner.run import Output, Plan, Run, Slice
from scanner.run.schema import CAPTIONS, REJECTS, column, samples_schema, write_part
from scanner.scoring.text import CONTROL_FIELDS
from scanner.scoring.words import TRIGGER_FIELD
from scanner.storage import Store

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
    run = Run(Store(str(folder)))
    run.begin({"inputs": {}, "fingerprint": {"id": "f", **(fingerprint or {})}, **(record or {})})
    samples = [
        {
            "caption_id": row["caption_id"],
            "source": row.get("source", "s.csv"),
            "row": number,
            "url": row.get("url"),
            "is_reference": row.get("is_reference", False),
        }
        for row in rows
        for number in range(row.get("n_samples", 1))
    ]
    captions = [
        {
            "caption_id": row["caption_id"],
            "caption": row["caption"],
            "canonical": row["caption"].lower(),
            "is_reference": row.get("is_reference", False),
        }
        for row in rows
    ]
    usual = {"triggers": [], "seeds": 1, "truncated": False, "n_tokens": 5}
    scores = [
        {**usual, **{name: row[name] for name in SCORES.names if name in row}}
        for row in rows
        if row.get("scored", True)
    ]
    kept = samples_schema([column("url", pa.string(), "kept")])
    parts = [
        write_part(run.store, "samples", "s", pa.Table.from_pylist(samples, kept)),
        write_part(run.store, "captions", "c", pa.Table.from_pylist(captions, CAPTIONS)),
        write_part(run.store, "rejects", "r", pa.Table.from_pylist(rejects or [], REJECTS)),
    ]
    item = Slice("000000", parts[1].path, "", "~", len(scores))
    counts = {
        "rows": len(samples) + len(rejects or []),
        "samples": len(samples),
        "rejects": len(rejects or []),
        "rejected_files": 0,
        "captions": len(rows),
    }
    run.adopt(Plan((), (parts[0].path,), (parts[1].path,), (parts[2].path,), (item,), counts, {}))
    table = pa.Table.from_pylist(scores, SCORES)
    if len(table):
        run.commits.commit("000000", [Output("scores", table)])
        run.seal()
    else:
        part = write_part(run.store, "scores", "e", table)
        run.store.write("manifest-0001.json", _manifest(parts, part.path))
    return str(folder)


def _manifest(parts: list[Any], scores: str) -> bytes:
    """Of a run without a score, which no scan seals."""
    from scanner.run.records import encode

    names = {"samples": parts[0], "captions": parts[1], "rejects": parts[2]}
    record = {name: [part.path] for name, part in names.items()}
    nothing = {"fingerprint": "f", "quarantined": [], "counts": {}}
    return encode({**nothing, **record, "scores": [{"path": scores, "rows": 0, "sha256": ""}]})
