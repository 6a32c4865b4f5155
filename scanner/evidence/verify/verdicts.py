"""Turn measures into verdicts."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from scanner.errors import UserError
from scanner.evidence.verify.thresholds import Thresholds
from scanner.run import Commit
from scanner.run.part_tables import read_part_groups
from scanner.run.results import DamagedPart
from scanner.run.verdicts import (
    ADVERSARIAL,
    ATTACKS,
    ATTACKS_KIND,
    COPIES,
    MEASURES,
    SEED_CONSISTENT,
    SOURCES,
    VERDICTS,
)
from scanner.storage import Store

BLOCK = 1024
# Of long captions in a part, beyond the usual bytes per row.
TEXT_BYTES = 64 << 20


def measures_of(store: Store, commits: Sequence[Commit]) -> pa.Table:
    """Read the measures (scanner.run.verdicts.MEASURES) from the parts of commits, either of
    measures or of verdicts, which include them."""
    return _read(store, commits, MEASURES, lambda kind: kind != ATTACKS_KIND)


def attacks_of(store: Store, commits: Sequence[Commit]) -> pa.Table:
    """Read what an adversary found (scanner.run.verdicts.ATTACKS) from the parts of commits."""
    return _read(store, commits, ATTACKS, lambda kind: kind == ATTACKS_KIND)


def _read(
    store: Store, commits: Sequence[Commit], schema: pa.Schema, is_wanted: Callable[[str], bool]
) -> pa.Table:
    """Read columns of the parts of wanted kinds. Raises UserError if one is damaged."""
    tables = [schema.empty_table()]
    for commit in commits:
        try:
            for part in (part for part in commit.parts if is_wanted(part.kind)):
                _, groups = read_part_groups(store, part, TEXT_BYTES)
                tables += [table.select(schema.names).cast(schema) for table in groups]
        except (DamagedPart, pa.ArrowException, KeyError) as error:
            raise UserError(
                f"{store.url}: {error}; restore the file from a copy, or remove "
                f"{commit.name.rpartition('/')[2]} from the folder commits and rerun the same "
                "memscan verify, which makes it again"
            ) from error
    return pa.concat_tables(tables)


def judge(measures: pa.Table, thresholds: Thresholds, verification: str = "") -> pa.Table:
    """Return the table of verdicts (scanner.run.verdicts.VERDICTS), in the order of the measures.

    verbatim: the images match a training image of the caption, and no other caption here generates
    them. template: only the part that agrees across seeds matches the training image, or several
    captions generate the image (the template verbatims of Webster 2023). seed-consistent: the seeds
    agree, but no matching training image was compared; the image may belong to another caption.
    none: the seeds disagree. The columns SOURCES and ADVERSARIAL are null.
    """
    agreement, whole = _numbers(measures, "agreement"), _numbers(measures, "likeness")
    copied = whole >= thresholds.likeness
    if thresholds.cosine is not None:
        copied |= _numbers(measures, "likeness_embedding") >= thresholds.cosine
    part = _numbers(measures, "likeness_part")
    in_part = _numbers(measures, "agreeing_share") >= thresholds.part
    consistent = copied | (agreement >= thresholds.agreement)
    shared = np.ones(len(measures), np.int32)
    shared[consistent] = same_picture(pictures(measures)[consistent], thresholds.same_picture)
    verdict = np.select(
        [
            copied & (shared == 1),
            copied | (in_part & (part >= thresholds.likeness)),
            consistent | (in_part & np.isnan(whole)),
        ],
        [*COPIES, SEED_CONSISTENT],
        "none",
    )
    constant: dict[str, Any] = {
        "verification": verification,
        "thresholds": json.dumps(asdict(thresholds), sort_keys=True),
        "verified_at": time.time(),
    }
    rows = measures.to_pylist()
    added = {
        "verdict": pa.array(verdict.tolist(), pa.string()),
        "reason": [
            _reason(row, bool(whole_image), int(n), thresholds)
            for row, whole_image, n in zip(rows, consistent, shared, strict=True)
        ],
        "same_picture": shared,
        **{name: [value] * len(rows) for name, value in constant.items()},
    }
    nulls = {field.name: pa.nulls(len(rows), field.type) for field in (*SOURCES, *ADVERSARIAL)}
    added = nulls | added
    columns = [added[n] if n in added else measures[n] for n in VERDICTS.names]
    return pa.table(columns, schema=VERDICTS)


def pictures(measures: pa.Table) -> np.ndarray:
    """Return the mean images (N, F)."""
    flat = measures["picture"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(measures), -1 if len(measures) else 0)


def same_picture(pictures_NF: np.ndarray, near: float) -> np.ndarray:
    """Count for each of N images those within an RMSE of ``near``, including itself: (N,)."""
    counts = np.zeros(len(pictures_NF), np.int32)
    for start in range(0, len(pictures_NF), BLOCK):
        block = slice(start, start + BLOCK)
        counts[block] = (distances(pictures_NF[block], pictures_NF) <= near).sum(1)
    return counts


def distances(left_NF: np.ndarray, right_MF: np.ndarray) -> np.ndarray:
    """Return the RMSE between images: (N, M)."""
    squares = (left_NF**2).mean(1)[:, None] + (right_MF**2).mean(1)[None]
    crossed = left_NF @ right_MF.T / max(1, left_NF.shape[1])
    return np.sqrt(np.maximum(squares - 2 * crossed, 0))


def _reason(row: dict[str, Any], whole: bool, shared: int, thresholds: Thresholds) -> str:
    """Explain a verdict. ``whole``: the whole image agrees or is a copy."""
    parts = [f"agreement of seeds {row['agreement']:.2f} (threshold {thresholds.agreement:.2f})"]
    if row["likeness"] is not None:
        likeness = f"{row['likeness']:.2f} (threshold {thresholds.likeness:.2f})"
        parts.append(f"likeness to the training image {likeness}")
    else:
        parts.append("no training image compared")
    if thresholds.cosine is not None and row["likeness_embedding"] is not None:
        parts.append(f"cosine {row['likeness_embedding']:.2f} (threshold {thresholds.cosine:.2f})")
    if shared > 1:
        parts.append(f"{shared} captions generate this image")
    if not whole:
        share = f"{row['agreeing_share']:.0%} of the image agrees (threshold {thresholds.part:.0%})"
        parts.append(share)
        if row["likeness_part"] is not None:
            parts.append(f"likeness of that part {row['likeness_part']:.2f}")
    return "; ".join(parts)


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """Return a column as floats, with NaN for null (comparisons with NaN are false)."""
    return table[name].to_numpy(zero_copy_only=False).astype(float)
