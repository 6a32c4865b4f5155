"""The captions most likely memorized, first.

Example: memscan rank RUN --top 20 --where "n_samples > 10"
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa
import tyro

from jobs.calibrations import named_calibration
from jobs.options import pairs
from jobs.tables import Written
from jobs.terminal import command, say
from scanner.errors import UsageError


@dataclass(frozen=True)
class RankConfig(Written):
    """What to rank and how to show it."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    top: int = 100
    """How many rows."""
    by: str | None = None
    """The signal that decides; by default the combination of --calibration, else noise_norm_first
    where the run has it, else entropy_e."""
    calibration: str | None = None
    """Rank by the probability of this calibration (a file of memscan calibrate, or testbed)."""
    min_samples: int = 0
    """Leave out captions that fewer samples of the training set share."""
    where: str = "true"
    """A SQL predicate on the view ranked."""
    with_: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Attach other runs: name=RUN gives the views name.scores, name.captions and so on."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(RankConfig, "rank", __doc__, _rank, arguments)


def _rank(config: RankConfig) -> int:
    if config.top < 1:
        raise UsageError(f"--top {config.top}: must be at least 1")
    from scanner.query import open_run, rank

    table = rank(
        open_run(config.run, pairs("--with", config.with_), named_calibration(config.calibration)),
        config.top,
        config.by,
        config.min_samples,
        config.where,
    )
    config.write(table, ("rank", "n_samples", _decided_by(table, config), "caption", "reasons"))
    if not config.calibration and config.out is None and not config.json and sys.stdout.isatty():
        say(
            "an order, not a verdict: memscan verify draws pictures of the first ones, memscan "
            "calibrate gives probabilities"
        )
    return 0


def _decided_by(table: pa.Table, config: RankConfig) -> str:
    """The column that says most about the order."""
    if config.calibration:
        return "probability"
    (signal,) = set(table["signal"].to_pylist()) or {"score"}
    return signal if signal in table.column_names else "score"


if __name__ == "__main__":
    sys.exit(main())
