"""Join runs of the testbeds' data set by caption."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from scanner.calibration import LabeledCaptions, Labels, match_labels
from scanner.calibration.statistics.bootstrap import Bools
from scanner.errors import UserError
from scanner.models import DiffusionModel, load_model
from scanner.query import RunTables, open_run
from scanner.scoring.catalog import SIGNALS
from scanner.testbed import files


@dataclass(frozen=True)
class TestbedRuns:
    """A testbed's labeled captions with the columns of all its runs; null where the column's run
    does not have the caption.

    fingerprints: by column, of the run that the column is from.
    """

    name: str
    model: DiffusionModel
    labeled: LabeledCaptions
    fingerprints: dict[str, dict[str, Any]]

    @property
    def signals(self) -> list[str]:
        """The columns with a direction, in the order of the catalog."""
        return [
            name for name, one in SIGNALS.items() if one.memorized and name in self.fingerprints
        ]

    def has(self, column: str) -> Bools:
        """Return whether each caption has a score in the column, (N,)."""
        return np.asarray(self.labeled.table[column].is_valid())

    def with_scores_in(self, column: str) -> "TestbedRuns":
        """Return the same with the captions that have a score in the column."""
        among, labeled = self.has(column), self.labeled
        part = replace(
            labeled,
            table=labeled.table.filter(pa.array(among)),
            memorized=labeled.memorized[among],
            clusters=labeled.clusters[among],
            classes=labeled.classes[among],
        )
        return replace(self, labeled=part)


def join_runs(urls: Sequence[str]) -> list[TestbedRuns]:
    """Return the testbeds that the runs are of. Raises UserError for a run of another model, or of
    captions that the first run of its testbed does not have."""
    joined: dict[str, TestbedRuns] = {}
    models = {name: load_model(name) for name in files.TESTBEDS}
    for url in urls:
        tables = open_run(url)
        name = _testbed(tables, models)
        if name not in joined:
            labeled = match_labels(tables, Labels.from_table(files.labels(name)))
            joined[name] = TestbedRuns(name, models[name], labeled, {})
        joined[name] = _with_columns(joined[name], tables)
    return [joined[name] for name in files.TESTBEDS if name in joined]


def _testbed(tables: RunTables, models: dict[str, DiffusionModel]) -> str:
    for name, model in models.items():
        if model.weights == tables.fingerprint["weights"]:
            return name
    raise UserError(f"{tables.url}: not a run of {' or '.join(models)}; scan with one of them")


def _with_columns(before: TestbedRuns, tables: RunTables) -> TestbedRuns:
    table, scores = before.labeled.table, tables.query("SELECT * FROM scores")
    row_of = {one: row for row, one in enumerate(scores["caption_id"].to_pylist())}
    rows = pa.array([row_of.get(one) for one in table["caption_id"].to_pylist()], pa.int64())
    if len(row_of) > len(rows) - rows.null_count:
        raise UserError(
            f"{tables.url}: has captions that the first run of {before.name} has not; name first "
            "the run with all captions that memscan demo writes"
        )
    fingerprints = dict(before.fingerprints)
    for name in tables.schema.names:
        if name in SIGNALS and name not in fingerprints:
            fingerprints[name] = tables.fingerprint
            if name not in table.column_names:
                table = table.append_column(name, scores[name].take(rows))
    return replace(before, labeled=replace(before.labeled, table=table), fingerprints=fingerprints)
