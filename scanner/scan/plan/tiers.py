"""The order in which captions are scanned: those that are most likely memorized first.

Before a scan, repetition says most about memorization: what models were found to have memorized was
mostly repeated in their training sets (Carlini et al., "Extracting training data from diffusion
models", USENIX Security 2023, section 4.2). An image that is repeated under other captions counts
too (Somepalli et al., "Understanding and mitigating copying in diffusion models", NeurIPS 2023). If
there are image keys, a caption's prior is therefore the larger of its number of samples and the
largest number of samples that share one of its images; otherwise it is its number of samples.
Captions are divided into a few tiers by their prior. Each
stays sorted by caption id, a hash, so that wherever a scan stops, it has scored a random sample of
its current tier, and merged parts have narrow ranges of ids.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.run import Output, Part, Tier
from scanner.run.schema import write_part
from scanner.storage import Store

ScanOrder = Literal["yield", "id"]
# The tiers of a training set; see LEAST_SAMPLES in scanner.captions.grouping.
BY_SAMPLES = (
    "reference captions",
    "captions with 100 samples or more",
    "captions with 10 to 99 samples",
    "captions with 4 to 9 samples",
    "captions with 2 or 3 samples",
    "captions with one sample",
)
# The same if images count too: by the samples of the caption or of one of its images, the larger.
BY_SAMPLES_OR_IMAGES = (
    "reference captions",
    "captions or images with 100 samples or more",
    "captions or images with 10 to 99 samples",
    "captions or images with 4 to 9 samples",
    "captions or images with 2 or 3 samples",
    "captions and images with one sample",
)
# The tiers of a cascade, and their ends in the ranking by the earlier run, as shares.
BY_RANK = (
    "ranks up to 1/64 of the earlier run's",
    "ranks from 1/64 to 1/16",
    "ranks from 1/16 to 1/4",
    "ranks from 1/4",
)
ENDS = (1 / 64, 1 / 16, 1 / 4)
# The column of a planned caption's tier, which captions files do not have.
TIER = pa.field("tier", pa.int8())
_METADATA = b"memscan.tiers"


@dataclass(frozen=True)
class CaptionsOutput(Output):
    """Captions with their tier in a column, sorted by it.

    The part has no such column. No row group, and so no slice, has captions of two tiers; the
    file's metadata has the tier of each.
    """

    def write(self, store: Store, name: str) -> Part:
        tiers, most = self.table["tier"].to_numpy(), self.row_group or len(self.table)
        cuts = (np.flatnonzero(np.diff(tiers)) + 1).tolist()
        bounds = pairwise((0, *cuts, len(tiers)))
        firsts = [row for start, end in bounds for row in range(start, end, most)]
        table = self.table.drop_columns("tier")
        if tiers.any():
            stored = json.dumps(tiers[firsts].tolist()).encode()
            metadata = {**(table.schema.metadata or {}), _METADATA: stored}
            table = table.replace_schema_metadata(metadata)
        return write_part(store, self.kind, name, table, most, cuts=cuts)


def tiers_of(metadata: pq.FileMetaData) -> Sequence[int]:
    """Return the tier of each row group of a captions file."""
    stored = (metadata.metadata or {}).get(_METADATA)
    return json.loads(stored) if stored else [0] * metadata.num_row_groups


def count_tiers(tiers: Iterable[int], names: Sequence[str]) -> tuple[Tier, ...]:
    """Return the tiers of slices, given in order; () if all slices are of one.

    ``names``: of all tiers that there may be.
    """
    numbers, counts = np.unique(np.fromiter(tiers, int), return_counts=True)
    if len(numbers) < 2:
        return ()
    pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
    return tuple(Tier(names[number], count) for number, count in pairs)


def tier_by_rank(position: str) -> str:
    """Return SQL for a caption's tier from SQL for its position in a ranking, from 0 to 1."""
    cases = "".join(f" WHEN {position} < {end} THEN {tier}" for tier, end in enumerate(ENDS))
    return f"(CASE{cases} ELSE {len(ENDS)} END)::TINYINT"
