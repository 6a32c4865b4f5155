"""Compare the verdicts with mitigation to those without."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verdicts import judge, measures_of
from scanner.run.verdicts import KINDS, verdict_commits
from scanner.storage import Store


@dataclass(frozen=True)
class Changes:
    """``captions``: number judged by both verifications; ``changed``: number whose verdict differs;
    ``to``: plain verdict → mitigated verdict → number of captions."""

    captions: int
    changed: int
    to: dict[str, dict[str, int]]


def compare(
    store: Store, names: Sequence[str], mitigated: pa.Table, limits: Thresholds
) -> Changes | None:
    """Compare mitigated verdicts with the first plain verification of these names; None if the run
    has none. Judges both with the same thresholds, whatever the plain ones were stored with."""
    commits = verdict_commits(store)
    done = commits.done()
    plain = next((name for name in names if name in done), None)
    if plain is None:
        return None
    without = _by_caption(judge(measures_of(store, commits.of([plain])), limits))
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
