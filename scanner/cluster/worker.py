"""The steps from an item to its commit, in an actor or in the command's own process."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scanner.cluster.work import Item, Work, reporting
from scanner.run import Commit, Commits


@dataclass(frozen=True)
class Computed:
    """The result of a work's ``compute``; began: seconds since the epoch."""

    value: Any
    began: float
    seconds: float


def compute(work: Work, prepared: Any, on_report: Callable[[int], None]) -> Computed:
    """Run and time ``work.compute``; ``on_report`` is called with what it reports."""
    began, start = time.time(), time.perf_counter()
    with reporting(on_report):
        value = work.compute(prepared)
    return Computed(value, began, time.perf_counter() - start)


def commit_item(
    commits: Commits,
    work: Work,
    item: Item,
    generation: int,
    compute: Callable[[Any], Computed],
) -> Commit:
    """Return the item's commit, made here or by the first driver to commit it."""
    existing = commits.get(item.id, generation)
    if existing:
        return existing
    computed = compute(work.prepare(item))
    result = work.finish(computed.value)
    result.notes |= {"worker": f"{os.uname().nodename}:{os.getpid()}", "began": computed.began}
    return commits.commit(item.id, result.outputs, generation, computed.seconds, result.notes)
