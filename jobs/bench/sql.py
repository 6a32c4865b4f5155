"""Time named queries on a synthetic run against plain reads of the same columns.

Each query runs in a separate process, to measure its peak memory. A round runs the plain read
and then the query; the ratio is the median over the rounds of the ratio within a round. The first
round only warms the page cache.
"""

import logging
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jobs.console.tables import print_table
from jobs.console.terminal import show

log = logging.getLogger("memscan")


MEMORY = 8 << 30
ROWS = 100_000
_REFERENCES = {"texts": ("caption_id", "is_reference")}
_TEXTS = {"texts": ("caption_id", "caption", "is_reference")}
_COUNTS = {"samples": ("caption_id", "is_reference")}
_DECISION = {"scores": ("caption_id", "noise_norm_low")}
SIGNALS_READ = ("entropy_e", "bos_mass", "prompt_mass", "summary_mass", "noise_norm_low")
_LISTED = ("source", "row", "key", "image_key", "caption_id", "is_reference")
# Parameters of each query, and the columns it reads by view, as shown by EXPLAIN. The queries flag
# 1 % of the captions: 100,000 of 10 million.
QUERIES: dict[str, tuple[dict[str, str], dict[str, tuple[str, ...]]]] = {
    "rank": (
        {"top": "1000"},
        {**_TEXTS, **_COUNTS, "scores": ("caption_id", *SIGNALS_READ, "triggers")},
    ),
    "score_distribution": ({}, {**_REFERENCES, "scores": ("caption_id", *SIGNALS_READ)}),
    "by_source": (
        {"column": "url"},
        {**_REFERENCES, **_DECISION, "samples": ("caption_id", "url", "is_reference")},
    ),
    "templates": ({"rate": "0.01"}, {**_TEXTS, **_COUNTS, **_DECISION}),
    "removal_list": ({}, {**_REFERENCES, **_DECISION, "samples": (*_LISTED, "url")}),
    "cap_duplicates": ({}, {"samples": _LISTED}),
}

# How a plain read uses a column, to read all of it.
_USES = {
    **dict.fromkeys(("caption_id", "caption", "source", "key", "image_key", "url"), "strlen({})"),
    "row": '"row" + 0',
    "is_reference": "{}::INTEGER",
    "triggers": "triggers[1].mass + strlen(triggers[1].text) + triggers[1].start + triggers[1].end"
    " + triggers[1].token_index + triggers[1].lift",
}


def measure(scores: int, rounds: int, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return seconds, ratio to the plain read and peak memory per query; see ``bench --json``.

    ``folder``: where to keep the synthetic run, which is created if it does not exist; by default
    a temporary one.
    """
    from jobs.bench.sql_run import synthetic_run

    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as parent:
        run, figures = synthetic_run(Path(parent), scores), {}
        for name in QUERIES:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                figures[name] = process.submit(time_query, run, name, rounds).result()
            log.info(f"sql: {name} took {figures[name]['seconds']:.2f} s")
        return figures


def time_query(run: str, name: str, rounds: int) -> dict[str, Any]:
    """Time a query and the plain read of its columns; peak memory is that of the whole process."""
    from scanner.query import library, open_run

    parameters, columns = QUERIES[name]
    query = library()[name]
    tables = open_run(run, memory=MEMORY)
    seconds, bare = [], []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        tables.query(_plain_read(columns))
        between = time.perf_counter()
        rows = sum(map(len, tables.batches(query.sql, ROWS, query.bind(parameters))))
        seconds.append(time.perf_counter() - between)
        bare.append(between - began)
    ratios = [slow / fast for slow, fast in zip(seconds[1:], bare[1:], strict=True)]
    return {
        "seconds": statistics.median(seconds[1:]),
        "bare_scan_seconds": statistics.median(bare[1:]),
        "ratio_to_bare_scan": statistics.median(ratios),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "rows": rows,
    }


def _plain_read(columns: dict[str, tuple[str, ...]]) -> str:
    """Return SQL that reads columns and computes little, but more than statistics can answer."""
    scans = []
    for view, names in columns.items():
        uses = ", ".join(f"max({_USES.get(name, '{} + 0').format(name)})" for name in names)
        scans.append(f"(SELECT ROW({uses}) FROM {view})")
    return f"SELECT {', '.join(scans)}"


def show_figures(figures: dict[str, Any], scores: int) -> None:
    """Print the figures of all queries; ``scores``: rows of the run."""
    show(f"\nqueries on {scores:,} scores, against plain reads of the same columns by DuckDB\n")
    rows = [
        {
            "query": name,
            "seconds": one["seconds"],
            "plain read": one["bare_scan_seconds"],
            "ratio": one["ratio_to_bare_scan"],
            "peak GiB": one["peak_memory_bytes"] / 2**30,
            "rows": one["rows"],
        }
        for name, one in figures.items()
    ]
    print_table(rows, list(rows[0]))
