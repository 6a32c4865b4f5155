"""Show the progress of a scan: slices, captions, speed, time left, rejects by reason.

Example: memscan status RUN --json
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from jobs.escaping import printable
from jobs.progress import duration, limited, samples_read
from jobs.terminal import command, print_json, print_rejects, print_skipped, show
from scanner.run import Run
from scanner.run.status import status

SHOWN = 10


@dataclass(frozen=True)
class StatusConfig:
    """Which run."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    json: bool = False
    """Print as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(StatusConfig, "status", __doc__, _status, arguments)


def _status(config: StatusConfig) -> int:
    state = status(Run.existing(config.run))
    if config.json:
        print_json(state)
    else:
        _print(state)
    return 0


def _print(state: dict[str, Any]) -> None:
    slices, left, planning = state["slices"], state["eta_seconds"], state["planning"]
    if planning:
        of = "" if planning["units"] is None else f" of {planning['units']:,}"
        level = planning["merge_level"]
        merged = f"{planning['ranges_merged']:,} merged (level {level}), " if level else ""
        show(
            f"planning   {planning['units_read']:,}{of} input parts read; "
            f"ranges of caption ids: {merged}{planning['ranges_grouped']:,} grouped"
        )
    working = (
        "" if state["sealed"] else f"{slices['running']} running on {state['actors']} actors, "
    )
    computed, about = state["captions_running"], "about " if state["estimated"] else ""
    running = f", {computed:,} more computed in running slices" if computed else ""
    show(
        f"slices     {slices['committed']:,} of {slices['planned']:,} committed, {working}"
        f"{slices['quarantined']} quarantined"
    )
    show(
        f"captions   {about}{state['scored']:,} of {state['captions']:,} scored{running}"
        f"{limited(state['limit'])}"
    )
    show(f"samples    {samples_read(state)}")
    if state["captions_per_second"]:
        show(f"speed      {state['captions_per_second']:,.1f} captions per second")
    if not state["sealed"]:
        stopped = "unknown: no scan is running; rerun the same command to resume"
        show(f"time left  {duration(left) if left is not None else stopped}")
    print_rejects(state["rejects"])
    print_skipped(state["skipped"])
    for name, reason in state["quarantined"].items():
        show(f"quarantine {printable(name)}: {printable(reason)}")
    for line in state["out_of_service"]:
        show(f"out of service  {printable(line)}")
    for line in state["events"][-SHOWN:]:
        show(f"event      {printable(line)}")
    show(f"sealed     {'yes' if state['sealed'] else 'no'}")


if __name__ == "__main__":
    sys.exit(main())
