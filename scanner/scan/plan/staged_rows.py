"""What is staged between the steps of planning: rows of one schema, how they are merged, and what
the work that stages them has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa

from scanner.cluster.work import Result
from scanner.run import Output
from scanner.scan.plan.sizes import PlanSizes
from scanner.storage import Store

StagedItem = TypeVar("StagedItem")


@dataclass(frozen=True)
class StagedRows:
    """Rows that are staged sorted by their first column, an id of 32 hex digits.

    ``name``: of their parts' folder; ``merge_stage``: of the commits of merging them. ``merge``
    merges equal rows of several tables into one table, sorted by the id, and empties the list.
    ``what``: the ranges that rows are merged in, for errors.
    """

    name: str
    merge_stage: str
    schema: pa.Schema
    merge: Callable[[list[pa.Table]], pa.Table]
    what: str = "ranges of caption ids"

    def kind(self, folder: str) -> str:
        """Return the kind of the parts in the folder of a generation of the plan."""
        return f"{folder}/{self.name}"


class StagingWork(ABC, Generic[StagedItem]):
    """Stages rows for each item, in the folder of a generation of the plan.

    Notes: ``staged``, as :func:`scanner.scan.plan.cuts.stage` describes the parts.
    """

    def __init__(self, store: Store, rows: StagedRows, folder: str, sizes: PlanSizes) -> None:
        self.store = store
        self.rows = rows
        self.kind = rows.kind(folder)
        self.sizes = sizes

    def prepare(self, item: StagedItem) -> StagedItem:
        return item

    def compute(self, prepared: StagedItem) -> StagedItem:
        return prepared

    def finish(self, computed: StagedItem) -> Result:
        notes: dict[str, Any] = {"staged": []}
        return Result(self._outputs(computed, notes["staged"]), notes)

    @abstractmethod
    def _outputs(self, item: StagedItem, notes: list[dict[str, Any]]) -> Iterator[Output]:
        """Yield the parts, and describe each in ``notes``."""
