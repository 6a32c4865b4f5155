"""What mitigation changes: the verdicts with it against those without."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verdicts import KINDS, judge
from scanner.run.verdicts import MEASURES, verdict_commits
from scanner.storage import Store


@dataclass(frozen=True)
class Changes:
    """``captions`` that both verifications judged; ``changed``: of how many the verdict differs;
    ``to``: plain verdict → mitigated verdict → how many."""

    captions: int
    changed: int
    to: dict[str, dict[str, int]]


def compare(store: Store, plain: str, mitigated: pa.Table, limits: Thresholds) -> Changes | None:
    """The verdicts against those of the plain verification of that name, or None where the run has
    none. Both are judged by the same thresholds, whatever the plain ones were joined with."""
    commits = verdict_commits(store)
    generation = commits.done().get(plain)
    if generation is None:
        return None
    tables = [MEASURES.empty_table()]
    for part in commits.read({plain: generation})[plain].parts:
        with store.open(part.path) as file:
            tables.append(pq.read_table(file, columns=MEASURES.names).cast(MEASURES))
    judged = judge(pa.concat_tables(tables), limits)
    without = _by_caption(judged)
    pairs = Counter(
        (without[name], verdict)
        for name, verdict in _by_caption(mitigated).items()
        if name in without
    )
    return Changes(
        captions=pairs.total(),
        changed=sum(count for (before, after), count in pairs.items() if before != after),
        to={before: {after: pairs[before, after] for after in KINDS} for before in KINDS},
    )


def _by_caption(table: pa.Table) -> dict[str, str]:
    names, verdicts = table["caption_id"].to_pylist(), table["verdict"].to_pylist()
    return dict(zip(names, verdicts, strict=True))
