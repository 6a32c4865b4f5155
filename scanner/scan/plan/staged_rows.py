"""What is staged between the steps of planning: rows of one schema, and how they are merged."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa


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
