"""Compare all signals on the testbeds: separation, cost, direction, and what each adds.

Prints Markdown: the tables of scanner/signals/README.md, and scanner/signals/findings/comparison.md
from its runs. Each run is of memscan demo, or a scan of the data set that it writes. Runs of one
testbed are joined by caption, each column from the first run that has it.

Example: python -m jobs.studies.signals demo/run-trajectory
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.console.terminal import command, show


@dataclass(frozen=True)
class SignalStudyConfig:
    """The runs to evaluate."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs of the testbeds, for example demo/run-all demo/run-testbed-dit-all."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SignalStudyConfig, "jobs.studies.signals", __doc__, _study, arguments)


def _study(config: SignalStudyConfig) -> int:
    from jobs.studies.signals.ablation import ablation
    from jobs.studies.signals.comparison import comparison
    from jobs.studies.signals.directions import TRIAGE, candidates, directions
    from jobs.studies.signals.testbed_runs import join_runs
    from scanner.errors import UsageError

    if not config.runs:
        raise UsageError("name at least one run, for example demo/run-trajectory")
    testbeds = join_runs(config.runs)
    sections = [["## All signals", "", *comparison(testbeds)]]
    for testbed in testbeds:
        sections.append([f"## What each signal adds on `{testbed.name}`", "", *ablation(testbed)])
    for testbed in testbeds:
        sections.append([f"## Directions on `{testbed.name}`", "", *directions(testbed)])
    for testbed in testbeds:
        if testbed.name == "testbed" and set(TRIAGE) <= set(testbed.signals):
            title = f"## Ranking a triage run of `{testbed.name}`"
            sections.append([title, "", *candidates(testbed.labeled)])
    show("\n\n".join("\n".join(section) for section in sections))
    return 0
