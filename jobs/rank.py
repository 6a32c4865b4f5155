"""Rank captions, most likely memorized first.

Without a calibration, ranks by one signal in its published direction: the run's signal with the
highest AUC on the testbed (scanner/signals/README.md). The column "signal" names it.

Example: memscan rank RUN --top 20 --where "n_samples > 10"
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import pyarrow as pa
import tyro

from jobs.console.calibrations import named_calibration
from jobs.console.options import pairs
from jobs.console.tables import TableOptions
from jobs.console.terminal import command, next_step
from scanner.errors import UsageError
from scanner.plurals import pluralize

if TYPE_CHECKING:
    from scanner.query import RunTables

log = logging.getLogger("memscan")

NOT_A_VERDICT = (
    "a ranking does not say which captions are memorized: memscan verify generates images from the "
    "top captions, and memscan calibrate gives probabilities"
)


@dataclass(frozen=True)
class RankConfig(TableOptions):
    """Run, ranking signal and filters."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    top: int = 100
    """Number of captions."""
    by: str | None = None
    """Signal to rank by, for example bos_mass. Default: the combination of --calibration;
    without one, the run's signal that separates best on the testbed: noise_norm_low in most
    profiles, bos_mass after --profile triage."""
    calibration: str | None = None
    """Rank by the probability of this calibration: a file or URL written by memscan calibrate, or
    testbed."""
    min_samples: int = 0
    """Exclude captions with fewer samples in the training set."""
    where: str = "true"
    """SQL predicate on the view ranked, for example "n_samples > 10"."""
    with_: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Attach another run: name=RUN adds the views name.scores, name.captions and so on; repeat the
    option, or list several."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(RankConfig, "rank", __doc__, _rank, arguments)


def _rank(config: RankConfig) -> int:
    if config.top < 1:
        raise UsageError(f"--top {config.top}: must be at least 1")
    from scanner.query import open_run, rank

    others, calibration = pairs("--with", config.with_), named_calibration(config.calibration)
    tables = open_run(config.run, others, calibration)
    is_hinted = config.is_shown and sys.stdout.isatty()
    has_weights = bool(calibration and calibration.weights)
    # Counted before the ranking is filtered.
    hint = likely_captions(tables) if is_hinted and has_weights else NOT_A_VERDICT
    table = rank(tables, config.top, config.by, config.min_samples, config.where)
    if len(table):
        log.info(f"ranked by {_basis(tables, table['signal'][0].as_py(), config.by)}")
    config.write(table, ("rank", "n_samples", _decided_by(table, config), "caption", "reasons"))
    if is_hinted:
        log.info(hint)
        if config.calibration:
            curated = ("--calibration", config.calibration, "--out", "removal")
            next_step("memscan", "curate", config.run, *curated)
    return 0


def likely_captions(tables: "RunTables") -> str:
    """Return how far down the ranking the default policy of memscan curate removes samples."""
    sql = "SELECT count(*) AS n FROM ranked WHERE probability >= 0.5"
    likely = pluralize(tables.query(sql)["n"][0].as_py(), "caption")
    return (
        f"probability of at least 0.5: {likely} of this run; memscan curate removes all but one of "
        "their samples by default, and lists them with their keys"
    )


def _basis(tables: "RunTables", signal: str, by: str | None) -> str:
    """Describe the ranking: signal, direction, and why it was chosen."""
    if signal not in tables.schema.names:
        return f"the calibration's {signal}"
    metadata = tables.schema.field(signal).metadata or {}
    first = "lowest" if metadata.get(b"memorized") == b"lower" else "highest"
    why = "" if by else ": of this run's signals, it separates best on the testbed"
    return f"{signal}, {first} first{why}"


def _decided_by(table: pa.Table, config: RankConfig) -> str:
    """Return the column to show for the ranking."""
    if config.calibration:
        return "probability"
    (signal,) = set(table["signal"].to_pylist()) or {"score"}
    return signal if signal in table.column_names else "score"


if __name__ == "__main__":
    sys.exit(main())
