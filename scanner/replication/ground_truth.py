"""The prompts of a replication with their labels: from public lists, or a testbed's own."""

import hashlib
import io
import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.calibration import Labels
from scanner.errors import UserError
from scanner.replication.config import ReplicateConfig
from scanner.replication.prompt_lists import Prompt, fetch_list, read_prompts
from scanner.storage import Store
from scanner.testbed import files

log = logging.getLogger("memscan.replication")

FILE = "prompts.parquet"
LARGEST_BYTES = 64 << 20
SCHEMA = pa.schema(
    [
        ("caption", pa.string()),
        ("memorized", pa.bool_()),
        ("verdict", pa.string()),
        ("family", pa.int64()),
        ("similarity", pa.float64()),
    ]
)


@dataclass(frozen=True)
class GroundTruth:
    """Distinct prompts with their labels, one row each (SCHEMA). ``lists``: where they come from,
    with hash and counts."""

    table: pa.Table
    lists: list[dict[str, Any]]

    @property
    def labels(self) -> Labels:
        similarities = self.table["similarity"].to_pylist()
        known = any(one is not None for one in similarities)
        return replace(Labels.from_table(self.table), similarities=similarities if known else [])

    @property
    def memorized(self) -> int:
        return sum(self.table["memorized"].to_pylist())


def ground_truth(config: ReplicateConfig, store: Store) -> GroundTruth:
    """Fetch the prompts, choose those to evaluate, and write them to FILE.

    Raises UserError if a list is refused, or if the directory holds other prompts.
    """
    rows, lists = _testbed(config) if config.kit.is_packaged else _fetched(config, store)
    table = pa.Table.from_pylist(_chosen(rows, config.prompts), SCHEMA)
    _write(store, table)
    return GroundTruth(table, lists)


def _testbed(config: ReplicateConfig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    path = files.TESTBEDS[config.kit.model].labels
    data = path.read_bytes()
    rows = files.labels(config.kit.model).select(["caption", "memorized", "verdict", "family"])
    digest = hashlib.sha256(data).hexdigest()
    source = "in this package; measured by generation"
    listed = {"name": path.name, "source": source, "url": None, "sha256": digest, "pinned": True}
    return rows.to_pylist(), [listed | {"prompts": len(rows), "without_prompt": 0}]


def _fetched(
    config: ReplicateConfig, store: Store
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the distinct prompts of the lists, and what each list holds."""
    prompts: dict[str, Prompt] = {}
    contradicted: set[str] = set()
    lists = []
    for listed in config.kit.lists:
        data = fetch_list(listed, store, config.mirror)
        found, without = read_prompts(listed, data)
        for prompt in found:
            known = prompts.setdefault(prompt.caption, prompt)
            if known.memorized != prompt.memorized:
                contradicted.add(prompt.caption)
        digest = hashlib.sha256(data).hexdigest()
        log.info(f"{listed.name}: {len(found):,} prompts, SHA-256 {digest[:16]}…")
        record = {"name": listed.name, "source": listed.source, "url": listed.url}
        pinned = {"sha256": digest, "pinned": listed.sha256 is not None}
        lists.append(record | pinned | {"prompts": len(found), "without_prompt": without})
    if contradicted:
        log.warning(f"{len(contradicted):,} prompts excluded: they are in lists of both kinds")
    kept = [asdict(one) for name, one in prompts.items() if name not in contradicted]
    return kept, lists


def _chosen(rows: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """Return at most ``limit`` rows, up to half of them memorized: those of smallest hash."""
    if limit is None or limit >= len(rows):
        return rows
    by_hash = sorted(rows, key=lambda row: hashlib.sha256(row["caption"].encode()).digest())
    memorized = [row for row in by_hash if row["memorized"]]
    others = [row for row in by_hash if not row["memorized"]]
    count = max(min(len(memorized), limit // 2), limit - len(others))
    return [*memorized[:count], *others[: limit - count]]


def _write(store: Store, table: pa.Table) -> None:
    """Write the prompts once: the runs beside them are of these prompts."""
    if store.exists(FILE):
        written = pq.read_table(io.BytesIO(store.read(FILE, LARGEST_BYTES)))
        if not written.equals(table):
            raise UserError(
                f"{store.location(FILE)}: the replication here is of {len(written):,} other "
                f"prompts, and this one of {len(table):,}; repeat its --limit, or use another --out"
            )
        return
    sink = io.BytesIO()
    pq.write_table(table, sink)
    store.write(FILE, sink.getvalue())
