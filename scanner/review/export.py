"""Export what a page lists: as a table, or as a rule of a policy."""

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from scanner.errors import UserError
from scanner.query import text_cells
from scanner.query.quoting import literal
from scanner.review.index import Positions, ReviewIndex
from scanner.review.selection import Filters
from scanner.run.decisions import CHOICES

MOST_ROWS = 1_000_000
MOST_LISTED = 10_000
ACTIONS = ("drop", "cap", "keep", "recaption")


def selection_table(index: ReviewIndex, positions: Positions) -> pa.Table:
    """Return one row per caption, in the order of the page. Raises UserError for too many."""
    if len(positions) > MOST_ROWS:
        raise UserError(
            f"{len(positions):,} captions are selected; an export has at most {MOST_ROWS:,}: add a "
            "filter, or use memscan rank or sql"
        )
    captions = index.captions(positions)
    probability = index.probability[positions].astype(np.float64)
    return pa.table(
        {
            "rank": pa.array([one.position + 1 for one in captions], pa.int64()),
            "caption_id": pa.array([one.caption_id for one in captions], pa.string()),
            "caption": pa.array([one.caption for one in captions], pa.string()),
            "n_samples": pa.array(index.n_samples[positions], pa.int32()),
            "rank_score": pa.array(index.rank_score[positions], pa.float32()),
            "probability": pa.array(probability, mask=np.isnan(probability)),
        }
    )


def as_csv(table: pa.Table) -> bytes:
    """Return a table as CSV; cells that a spreadsheet would run as a formula are escaped."""
    with io.BytesIO() as file:
        pyarrow.csv.write_csv(text_cells(table), file)
        return file.getvalue()


def as_parquet(table: pa.Table) -> bytes:
    with io.BytesIO() as file:
        pq.write_table(table, file, compression="zstd")
        return file.getvalue()


def as_policy(index: ReviewIndex, positions: Positions, filters: Filters, action: str) -> str:
    """Return a policy with one rule that matches the selection: by its predicate if filters can be
    written as one, else by caption id. Raises UserError."""
    if action not in ACTIONS:
        raise UserError(f"action {action[:40]!r}: must be one of {', '.join(ACTIONS)}")
    when = _predicate(filters, index.calibrated)
    if when is None:
        if not 0 < len(positions) <= MOST_LISTED:
            raise UserError(
                f"{len(positions):,} captions are selected; a rule lists from 1 to {MOST_LISTED:,}"
            )
        ids = ", ".join(literal(one.caption_id) for one in index.captions(positions))
        when = f"caption_id IN ({ids})"
    lines = ['name = "review"', "version = 1", "", "[[rule]]", 'reason = "reviewed-selection"']
    lines += [f"when = {json.dumps(when)}", f'action = "{action}"']
    return "\n".join(lines) + "\n"


def _predicate(filters: Filters, calibrated: bool) -> str | None:
    """Return the filters as a predicate over a policy's columns, None if that is impossible."""
    listed: tuple[Any, ...] = (filters.q, filters.template, filters.cluster, filters.source)
    if any(listed) or filters.order == "sample" or filters.decided not in ("any", *CHOICES):
        return None
    # A policy may be used with a calibration, which changes rank_score.
    if not calibrated and (filters.low is not None or filters.high is not None):
        return None
    tests = [f"({filters.where})"] if filters.where else []
    tests += [f"verdict = {literal(filters.verdict)}"] if filters.verdict else []
    tests += [f"decision = '{filters.decided}'"] if filters.decided in CHOICES else []
    tests += [f"probability >= {filters.low!r}"] if filters.low is not None else []
    tests += [f"probability <= {filters.high!r}"] if filters.high is not None else []
    tests += [f"n_samples >= {filters.samples}"] if filters.samples else []
    return " AND ".join(tests) or None
