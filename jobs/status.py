"""Show the progress of a scan: slices, captions, speed, time left, rejects by reason.

A slice is a range of captions that are scored and committed together; a quarantined one failed
three times. A sealed run is finished: its list of files is final, and other commands read it.

Example: memscan status RUN --json
"""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from jobs.console.escaping import printable
from jobs.console.progress import amount, duration, limited, samples_read
from jobs.console.terminal import command, print_json, print_rejects, print_skipped, show, warn
from scanner.errors import UsageError
from scanner.plurals import pluralize
from scanner.run import Run
from scanner.run.progress import hours_unit
from scanner.run.status import status

SHOWN = 10
REPORTS_SECONDS = 15  # a scan reports its progress every 5 seconds or so


@dataclass(frozen=True)
class StatusConfig:
    """Which run."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    price: float | None = None
    """Price of a GPU-hour (on the cpu, of an actor-hour) in any currency: also show the cost so far
    and of what is left."""
    yield_: Annotated[bool, tyro.conf.arg(name="yield")] = False
    """Also show how many captions are flagged so far, in which tier of the scan's order they were
    found, and how many of the captions that are not scanned would be flagged at the same
    threshold. Reads the scores of one signal, of at most 200 parts of each tier."""
    calibration: str | None = None
    """With --yield, flag by this calibration: a file or URL written by memscan calibrate, or
    testbed. Without one, the top 1 % of the captions scored so far are flagged."""
    checksums: bool = False
    """Also read all files of scores of a sealed run, to see whether any has changed since it was
    written; exit status 3 if so. Commands that query a run do not check this."""
    json: bool = False
    """Print as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(StatusConfig, "status", __doc__, _status, arguments)


def _status(config: StatusConfig) -> int:
    if config.price is not None and not 0 <= config.price < math.inf:
        raise UsageError(f"--price {config.price:g}: must be a number from 0")
    if config.calibration and not config.yield_:
        raise UsageError("--calibration: flags captions for --yield; add --yield")
    run = Run.existing(config.run)
    state = status(run)
    if config.yield_:
        from jobs.console.calibrations import named_calibration  # slow to import
        from scanner.query.yield_curve import measure_yield

        found = measure_yield(config.run, named_calibration(config.calibration))
        state["yield"] = found.to_json()
    if config.price is not None:
        state["cost"], state["cost_left"] = (
            None if state[name] is None else state[name] * config.price
            for name in ("device_hours", "device_hours_left")
        )
    if config.checksums:
        from scanner.run.checksums import damaged_scores

        state["damaged"] = damaged_scores(run)
    if config.json:
        print_json(state)
    else:
        _print(state)
    if state.get("damaged"):
        warn(
            f"{pluralize(len(state['damaged']), 'file')} of scores changed or missing; rerun the "
            "same memscan scan with --repair"
        )
        return 3
    return 0


def _print(state: dict[str, Any]) -> None:
    slices, left = state["slices"], state["eta_seconds"]
    if state["planning"]:
        _print_planning(state["planning"])
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
        how = "with a larger --budget-hours" if state["usable"] else "the same command"
        silent = state["silent_seconds"] or 0.0
        since = f" (the scan last reported {silent:.0f} s ago)" if silent > REPORTS_SECONDS else ""
        unknown = (
            f"unknown so far{since}"
            if state["is_active"] or state["planning"]
            else f"unknown: no scan is running; rerun {how} to resume"
        )
        show(f"time left  {unknown if left is None else duration(left) + since}")
    _print_hours(state)
    if "yield" in state:
        _print_yield(state["yield"])
    print_rejects(state["rejects"])
    print_skipped(state["skipped"])
    for name, reason in state["quarantined"].items():
        show(f"quarantine {printable(name)}: {printable(reason)}")
    for line in state["out_of_service"]:
        show(f"out of service  {printable(line)}")
    for line in state["events"][-SHOWN:]:
        show(f"event      {printable(line)}")
    if state["purge_interrupted"]:
        show("purge      interrupted; rerun memscan purge, with any list, to finish it")
    usable = f"; commands read {state['usable']:,} captions, scored by the end of --budget-hours"
    if "damaged" in state:
        for path in state["damaged"][:SHOWN]:
            show(f"damaged    {printable(path)}")
        if not state["damaged"]:
            show("checksums  all scores are as they were written")
    show(f"sealed     {'yes' if state['sealed'] else 'no' + usable * bool(state['usable'])}")


def _print_planning(planning: dict[str, Any]) -> None:
    of = "" if planning["units"] is None else f" of {planning['units']:,}"
    level = planning["merge_level"]
    merged = f"{planning['ranges_merged']:,} merged (level {level}), " if level else ""
    images = (
        f"images: {planning['image_files_read']:,} samples files read, "
        f"{planning['image_ranges_grouped']:,} ranges grouped; "
    )
    show(
        f"planning   {planning['units_read']:,}{of} input parts read; "
        f"{images * bool(planning['image_files_read'])}"
        f"ranges of caption ids: {merged}{planning['ranges_grouped']:,} grouped"
    )


def _print_yield(found: dict[str, Any]) -> None:
    """Print the flagged captions of each tier, and how many are left to find."""
    about = "about " * found["is_estimate"]
    show(f"yield      {about}{found['flagged']:,} captions are flagged: {found['flagged_by']}")
    show(f"           {'scanned of all':>15}  {'found of flagged':>16}")
    for tier in found["tiers"]:
        show(
            f"           {tier['scanned_share']:>15.1%}  {tier['found_share']:>16.1%}  after "
            f"{printable(tier['name'])}: {tier['scanned']:,} of {tier['planned']:,} scanned, "
            f"{tier['found']:,.0f} flagged"
        )
    if found["found_low"] is not None:
        left, share = (
            _range(f"{found[f'{name}_{end}']:{form}}" for end in ("low", "high"))
            for name, form in (("left", ",.0f"), ("found", ".1%"))
        )
        show(f"           of the others, {left} would be flagged so: {share} are found")
        show(f"           {found['limits']}")


def _range(ends: Iterable[str]) -> str:
    return " to ".join(dict.fromkeys(ends))


def _print_hours(state: dict[str, Any]) -> None:
    """Print the hours of devices and their cost, so far and to go, as far as they are known."""
    hours = f" {hours_unit(state['device_kind'])}"
    for label, name, unit in (("hours", "device_hours", hours), ("cost", "cost", "")):
        if state.get(name) is not None:
            left = state[f"{name}_left"]
            remaining = f", about {amount(left)} left" if left else ""
            show(f"{label:11}{amount(state[name])}{unit} so far{remaining}")


if __name__ == "__main__":
    sys.exit(main())
