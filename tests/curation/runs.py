"""Sealed runs over real files with a real plan and made-up scores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.curation.policy import policy_of
from scanner.run import Output, Run
from scanner.run.schema import column, rejects_table
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.opening import inputs_record
from scanner.scan.plan.make_plan import make_plan
from scanner.storage import Store

SCORES = pa.schema(
    [
        column("caption_id", pa.string(), "id"),
        column("noise_norm_first", pa.float32(), "n").with_metadata({"memorized": "higher"}),
    ]
)

LOUD = "noise_norm_first > 5"
ROWS = [
    *[("loud a", "u1")] * 5,
    *[("loud b", "u2")] * 3,
    ("quiet", "u1"),
    ("quiet", "u9"),
    ("loud c", None),
    ("quiet", None),
]


def normalization() -> Callable[[str], str]:
    return lambda caption: caption.lower().strip()


def make_run(
    out: Path | str,
    score: Callable[[str], float | None],
    record: dict[str, Any] | None = None,
    make_canonical: Callable[[], Callable[[str], str]] = normalization,
    slice_rows: int = 1000,
    **options,
) -> str:
    """``score`` of a canonical caption becomes its noise_norm_first, and None rejects it;
    ``options`` are a scan's.

    ``record``: what run.json holds beside the fingerprint.
    """
    config = ScanConfig(out=str(out), **options)
    run = Run(Store(config.out))
    plan = make_plan(
        choose_inputs(config),
        run.store,
        make_canonical,
        lambda _: slice_rows,
        config.limit,
        order=config.order,
    )
    run.begin({"inputs": inputs_record(config), "fingerprint": {"id": "f"}, **(record or {})})
    run.adopt(plan)
    for item in plan.slices:
        with run.store.open(item.file) as file:
            captions = pq.ParquetFile(file).read_row_group(item.row_group).to_pylist()
        found = {row["caption_id"]: score(row["canonical"]) for row in captions}
        rows = [
            {"caption_id": caption_id, "noise_norm_first": value}
            for caption_id, value in found.items()
            if value is not None
        ]
        rejected = [caption_id for caption_id, value in found.items() if value is None]
        scores = Output("scores", pa.Table.from_pylist(rows, SCORES))
        reasons = rejects_table("scan", ["no number"] * len(rejected), caption_id=rejected)
        run.commits.commit(item.id, [scores, Output("rejects", reasons)])
    run.seal()
    return config.out


def loudness(caption: str) -> float:
    """A caption that says ``loud`` scores 9, another one 1."""
    return 9.0 if "loud" in caption else 1.0


def rule(reason: str, when: str, action: str, **keys) -> dict:
    return {"reason": reason, "when": when, "action": action, **keys}


def policy(*rules: dict, **keys):
    given = {"name": "p", "version": 1, "rule": list(rules), "limits": {"source": 1, "cluster": 1}}
    return policy_of({**given, **keys}, "p")


def write_rows(path: Path, rows: list[tuple]) -> Path:
    """Rows of (caption, url)."""
    lines = [
        json.dumps({"id": number, "caption": caption, "url": url, "score": f"kept {number}"})
        for number, (caption, url) in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path
