"""Measure whether verify --index names the training image that a caption reproduces.

Copies the testbed's training set with the images of half of its memorized captions exchanged: the
model still generates the image that it was trained on, which now stands under another caption.
Scans and indexes the copy, generates from all memorized captions and from some others, and counts
how often the nearest image is the right one. Also fits the threshold of a match, as
jobs.studies.verdict_thresholds fits the others: on one half of the captions, reported on the other.

Example: python -m jobs.studies.image_sources --out DIR
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.console.terminal import command, load_libraries, print_json, show

# The share of wrong labels that verdict_thresholds chose for the testbed.
TAIL = 0.02
GROUPS = ("repeated", "once", "heldout")


@dataclass(frozen=True)
class SourceStudyConfig:
    """Where to write, and what to generate."""

    out: Path
    """Directory for the data set, the run and the index; rerun to resume."""
    others: int = 60
    """Captions that are not memorized, of each of the groups repeated, once and heldout."""
    seeds: int = 2
    """Images per caption."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SourceStudyConfig, "jobs.studies.image_sources", __doc__, _study, arguments)


def _study(config: SourceStudyConfig) -> int:
    load_libraries()
    config.out.mkdir(parents=True, exist_ok=True)
    exchanged = _write_data(config)
    _run(config)
    record = _measure(config, exchanged)
    if config.json:
        print_json(record)
        return 0
    for name, one in record["memorized"].items():
        show(
            f"{name}: {one['captions']} memorized captions, nearest image right for "
            f"{one['right']}, matched {one['matched']}"
        )
    show(f"threshold fitted on one half: {record['threshold']:.4f}")
    half = record["other_half"]
    show(
        f"on the other half: matched {half['memorized_matched']} of {half['memorized']} memorized "
        f"captions, {half['others_matched']} of {half['others']} others"
    )
    return 0


def _write_data(config: SourceStudyConfig) -> set[str]:
    """Write the data set and the captions to verify; return the captions with another image."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    from scanner.testbed import labels
    from scanner.testbed.files import TRAIN

    truth = labels().to_pylist()
    memorized = [row for row in truth if row["memorized"]]
    others = [
        row
        for group in GROUPS
        for row in [one for one in truth if one["group"] == group and not one["memorized"]][
            : config.others
        ]
    ]
    lines = [json.dumps({"caption": row["caption"]}) + "\n" for row in memorized + others]
    (config.out / "captions.jsonl").write_text("".join(lines), encoding="utf-8")
    table = pq.read_table(TRAIN)
    own = {row["caption"]: row for row in table.select(["caption", "url", "image"]).to_pylist()}
    single = [row["caption"] for row in memorized if row["family"] is None][::2]
    families = sorted({row["family"] for row in memorized if row["family"] is not None})[::2]
    first = {row["family"]: row["caption"] for row in reversed(memorized)}
    # Each takes the image of the next.
    taken = dict(zip(single, [*single[1:], single[0]], strict=True))
    following = dict(zip(families, [*families[1:], families[0]], strict=True))
    taken |= {
        row["caption"]: first[following[row["family"]]]
        for row in memorized
        if row["family"] in following
    }
    sources = [taken.get(caption, caption) for caption in table["caption"].to_pylist()]
    for name in ("url", "image"):
        kept = table[name].to_pylist()
        values = [
            own[source][name] if caption in taken else value
            for caption, source, value in zip(
                table["caption"].to_pylist(), sources, kept, strict=True
            )
        ]
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table, config.out / "data.parquet", compression="zstd", row_group_size=2048)
    return set(taken)


def _run(config: SourceStudyConfig) -> None:
    from jobs.console.progress import DrawnProgress, IndexProgress, ScanProgress
    from scanner.evidence.index.build import index_images
    from scanner.evidence.index.config import IndexConfig
    from scanner.evidence.verify.config import VerifyConfig
    from scanner.evidence.verify.drive import verify
    from scanner.scan.config import ScanConfig
    from scanner.scan.scan import scan

    run, index = str(config.out / "run"), str(config.out / "index")
    data = str(config.out / "data.parquet")
    with ScanProgress() as progress:
        scan(
            ScanConfig(captions=(data,), out=run, model="testbed", profile="triage", actors=1),
            progress,
        )
    with IndexProgress() as indexing:
        index_images(IndexConfig(inputs=(run,), out=index), indexing)
    options = VerifyConfig(
        run=run,
        captions=str(config.out / "captions.jsonl"),
        index=index,
        seeds=config.seeds,
        steps=20,
        guidance=2,
        actors=1,
    )
    with DrawnProgress() as drawing:
        verify(options, drawing, drawing.searched)


def _measure(config: SourceStudyConfig, exchanged: set[str]) -> dict[str, Any]:
    import numpy as np
    import pyarrow.parquet as pq

    from scanner.evidence.verify.threshold_fitting import between, first_half
    from scanner.query import open_run
    from scanner.run.verdicts import SOURCE_NONE
    from scanner.testbed import labels
    from scanner.testbed.files import TRAIN

    trained = pq.read_table(TRAIN, columns=["caption", "url"]).to_pylist()
    images = {row["caption"]: row["url"] for row in trained}
    truth = {row["caption"]: row for row in labels().to_pylist()}
    rows = open_run(str(config.out / "run")).query("FROM verdicts ORDER BY caption_id").to_pylist()
    memorized = np.array([truth[row["caption"]]["memorized"] for row in rows])
    right = np.array([row["source_image_key"] == images.get(row["caption"]) for row in rows])
    matched = np.array([row["source_match"] != SOURCE_NONE for row in rows])
    is_exchanged = np.array([row["caption"] in exchanged for row in rows])
    similarity = np.array([row["source_similarities"][0] for row in rows])
    families = [truth[row["caption"]]["family"] for row in rows]
    names = [
        row["caption"] if family is None else f"family {family}"
        for row, family in zip(rows, families, strict=True)
    ]
    half = first_half(names)
    threshold = between(similarity[half], memorized[half], TAIL)
    assert threshold is not None, "both halves have captions of both kinds"
    beyond = (similarity >= threshold) & ~half
    parts = {"own image": memorized & ~is_exchanged, "image of another": memorized & is_exchanged}
    return {
        "memorized": {
            name: {
                "captions": int(part.sum()),
                "right": int((part & right).sum()),
                "matched": int((part & matched).sum()),
            }
            for name, part in parts.items()
        },
        "threshold": threshold,
        "other_half": {
            "memorized": int((memorized & ~half).sum()),
            "memorized_matched": int((memorized & beyond).sum()),
            "others": int((~memorized & ~half).sum()),
            "others_matched": int((~memorized & beyond).sum()),
        },
    }


if __name__ == "__main__":
    sys.exit(main())
