"""Count rejects by reason."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.run.commits import READERS
from scanner.run.compaction import KINDS
from scanner.run.records import Commit
from scanner.storage import Store


def reasons_in(reasons: pa.ChunkedArray | pa.Array) -> dict[str, int]:
    """Return how often each reason occurs, without its details after a colon."""
    counts: Counter[str] = Counter()
    for item in pc.value_counts(reasons).to_pylist():
        counts[item["values"].split(":")[0]] += item["counts"]
    return dict(counts)


def count_reasons(store: Store, rejects: Iterable[str]) -> dict[str, int]:
    """Count the rejects in these files by reason, most frequent first.

    A file that could not be read counts as one reject.
    """

    def count(name: str) -> dict[str, int]:
        found: Counter[str] = Counter()
        with store.open(name) as file:
            # Batch by batch, and each reason once, so that memory is bounded for any file.
            parquet = pq.ParquetFile(file, read_dictionary=["reason"])
            for batch in parquet.iter_batches(columns=["reason"]):
                found.update(reasons_in(batch["reason"]))
        return dict(found)

    counts: Counter[str] = Counter()
    # In parallel: many small files, in a store with high latency.
    with ThreadPoolExecutor(READERS) as threads:
        for reasons in threads.map(count, rejects):
            counts.update(reasons)
    return dict(counts.most_common())


def committed_reasons(store: Store, commits: Iterable[Commit]) -> dict[str, int]:
    """Count the rejects of commits by reason; reads the parts of those that do not say."""
    counts: Counter[Any] = Counter()
    unread: list[str] = []
    for commit in commits:
        if "reasons" in commit.notes:
            counts.update(commit.notes["reasons"])
        else:
            unread += [*commit.paths("rejects"), *commit.paths(KINDS["rejects"])]
    counts.update(count_reasons(store, unread))
    return dict(counts)
