"""Runs whose slices a test commits itself."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from scanner.run import Commit, Output, Plan, Run, Slice
from scanner.run.schema import REJECTS, column, rejects_table
from scanner.storage import Store

ROWS = 4
# NaN and -0.0 compare with anything but their bits.
VALUES = (1.5, float("nan"), -0.0, 3e-40)
SCHEMA = pa.schema(
    [
        column("caption_id", pa.string(), "id"),
        column("entropy_e", pa.float32(), "entropy", "nats"),
        column("layers", pa.list_(pa.float32()), "per layer"),
    ]
)


def slices_of(number: int, per_file: int = 1000, first: int = 0) -> tuple[Slice, ...]:
    """Slices of ``ROWS`` captions, in captions files of ``per_file`` slices."""
    return tuple(
        Slice(
            f"{index:06d}",
            f"captions/{first}-{(index - first) // per_file}.parquet",
            f"{index:08x}0",
            f"{index:08x}{ROWS - 1}",
            ROWS,
        )
        for index in range(first, first + number)
    )


def plan_of(slices: Sequence[Slice]) -> Plan:
    captions = sum(item.rows for item in slices)
    return Plan(
        inputs=(),
        samples=("samples/s.parquet",),
        captions=tuple(dict.fromkeys(item.file for item in slices)),
        rejects=(),
        slices=tuple(slices),
        counts={
            "rows": captions,
            "samples": captions,
            "rejects": 0,
            "rejected_files": 0,
            "captions": captions,
        },
        columns={},
    )


def planned_run(folder: Path | str, slices: Sequence[Slice]) -> tuple[Run, Plan]:
    run = Run(Store(str(folder)))
    run.begin({"inputs": {"limit": None}, "fingerprint": {"id": "f", "seeds": 1}})
    plan = run.adopt(plan_of(slices))
    run.summarize(plan, 0)
    return run, plan


def table_of(item: Slice, rows: int = ROWS) -> pa.Table:
    ids = [f"{item.first[:-1]}{row}" for row in range(rows)]
    return pa.table([ids, [*VALUES[:rows]], [[v, v] for v in VALUES[:rows]]], schema=SCHEMA)


def commit_slice(run: Run, item: Slice, generation: int = 0, rejects: int = 0) -> Commit:
    """Commit a slice whose last ``rejects`` captions are rejected."""
    scores = table_of(item, ROWS - rejects)
    outputs = [Output("scores", scores)]
    if rejects:
        reasons = ["not finite: noise_norm_first"] * rejects
        outputs.append(Output("rejects", rejects_table("scan", reasons).cast(REJECTS)))
    return run.commits.commit(item.id, outputs, generation)


def damage(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
