"""How far a scan is: slices, captions, speed, time left, rejects by reason.

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
    found = status(Run.existing(config.run))
    if config.json:
        print_json(found)
    else:
        _print(found)
    return 0


def _print(found: dict[str, Any]) -> None:
    slices, left, planning = found["slices"], found["eta_seconds"], found["planning"]
    if planning:
        of = "" if planning["units"] is None else f" of {planning['units']:,}"
        show(
            f"planning   {planning['units_read']:,}{of} parts of the input read, "
            f"{planning['ranges_grouped']:,} ranges of caption ids grouped"
        )
    working = (
        "" if found["sealed"] else f"{slices['running']} running on {found['actors']} actors, "
    )
    computed = found["captions_running"]
    running = f", {computed:,} more computed in running slices" if computed else ""
    show(
        f"slices     {slices['committed']:,} of {slices['planned']:,} committed, {working}"
        f"{slices['quarantined']} quarantined"
    )
    show(
        f"captions   {found['scored']:,} of {found['captions']:,} scored{running}"
        f"{limited(found['limit'])}"
    )
    show(f"samples    {samples_read(found)}")
    if found["captions_per_second"]:
        show(f"speed      {found['captions_per_second']:,.1f} captions a second")
    if not found["sealed"]:
        stopped = "no scan is running; the same command goes on"
        show(f"time left  {duration(left) if left is not None else stopped}")
    print_rejects(found["rejects"])
    print_skipped(found["skipped"])
    for name, reason in found["quarantined"].items():
        show(f"quarantine {printable(name)}: {printable(reason)}")
    for line in found["events"][-SHOWN:]:
        show(f"event      {printable(line)}")
    show(f"sealed     {'yes' if found['sealed'] else 'no'}")


if __name__ == "__main__":
    sys.exit(main())
