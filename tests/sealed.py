"""Sealed runs of tables that a test writes down."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scanner.run import Output, Plan, Run, Slice
from scanner.run.records import encode
from scanner.run.schema import CAPTIONS, REJECTS, samples_schema, write_part
from scanner.storage import Store

Rows = list[dict[str, Any]]


def seal_run(
    folder: Path | str,
    samples: Rows,
    captions: Rows,
    scores: pa.Table,
    *,
    kept: tuple[pa.Field, ...] = (),
    rejects: Sequence[dict[str, Any]] = (),
    record: dict[str, Any] | None = None,
) -> str:
    """A sealed run with these rows, in one slice; its place. A sample's row, reference mark and
    source, and a caption's canonical form and mark, may be left out. ``kept``: columns that samples
    carry; ``record``: what run.json holds beside the usual, or otherwise.
    """
    run = Run(Store(str(folder)))
    run.begin({"inputs": {}, "fingerprint": {"id": "f"}} | (record or {}))
    usual = {"source": "s.csv", "row": 0, "is_reference": False}
    tables = {
        "samples": pa.Table.from_pylist([usual | row for row in samples], samples_schema([*kept])),
        "captions": pa.Table.from_pylist(
            [
                {"canonical": row["caption"].lower(), "is_reference": False} | row
                for row in captions
            ],
            CAPTIONS,
        ),
        "rejects": pa.Table.from_pylist(list(rejects), REJECTS),
    }
    parts = {name: write_part(run.store, name, "p", table) for name, table in tables.items()}
    counts = {
        "rows": len(samples) + len(rejects),
        "samples": len(samples),
        "rejects": len(rejects),
        "rejected_files": 0,
        "captions": len(captions),
    }
    slices = (Slice("000000", parts["captions"].path, "", "~", len(scores)),)
    paths = {name: (part.path,) for name, part in parts.items()}
    run.adopt(Plan(inputs=(), slices=slices, counts=counts, columns={}, **paths))
    if len(scores):
        run.commits.commit("000000", [Output("scores", scores)])
        run.seal()
    else:
        _seal_without_scores(run, paths, scores)
    return run.store.url


def _seal_without_scores(run: Run, paths: dict[str, tuple[str, ...]], scores: pa.Table) -> None:
    """As no scan seals a run."""
    part = write_part(run.store, "scores", "e", scores)
    empty = [{"path": part.path, "rows": 0, "sha256": ""}]
    nothing = {"fingerprint": "f", "quarantined": [], "counts": {}, "reject_reasons": {}}
    run.store.write("manifest-0001.json", encode({**nothing, **paths, "scores": empty}))
