"""From scores to a removal list: which samples a policy removes from the training set, and why.

Examples: memscan curate RUN --out curated
          memscan curate RUN --policy mine.toml --out curated-2 --diff curated
          memscan curate RUN --policy mine.toml --out curated-2 --apply s3://bucket/cleaned

A policy is a TOML file of rules in order; the first one that holds for a caption decides what
becomes of its samples, and of others with the same image. The list's directory has the policy as
policy.toml, the default one too: copy it and change it. Nothing is scored again.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jobs.calibrations import named_calibration
from jobs.logs import LogOptions
from jobs.options import pairs
from jobs.tables import print_table
from jobs.terminal import command, print_json, show
from scanner.errors import UsageError

if TYPE_CHECKING:
    from scanner.curation.copies.copying import Applied

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class CurateConfig(LogOptions):
    """What to curate, by which policy, and where to."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    out: Annotated[str, tyro.conf.arg(help_behavior_hint="(required)")] = ""
    """The directory or URL for removal_list.parquet and .csv, summary.json and .txt, policy.toml;
    an earlier list there is replaced."""
    policy: str = "default"
    """A TOML file with rules, or default."""
    calibration: str | None = None
    """A calibration of memscan calibrate (a file or URL, or testbed), which gives rules the
    probability and the summary the expected number of false removals."""
    apply: str | None = None
    """Also write cleaned copies of the input shards to this directory or URL, with the same format
    and columns. Run again, it goes on where it stopped."""
    input_root: tuple[str, ...] = ()
    """With --apply, also copy input files below this directory or URL, beside those below what the
    scan's --captions named; repeat it, or list several."""
    diff: str | None = None
    """Show what changes against another policy, or against an earlier --out directory."""
    force: bool = False
    """Go on where one source or one cluster loses more than the policy's limits allow."""
    csv_safe: bool = False
    """In removal_list.csv, put an apostrophe before each cell that a spreadsheet would take for a
    formula (one that begins with = + - @, a tab or a line break). The Parquet list, which --apply
    reads, stays exact."""
    image_key: str = "image_key"
    """The column of samples that tells that two are the same image, so that what removes one
    removes the other under its other captions too; none to look at captions alone."""
    with_: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Attach another run: name=RUN gives predicates the views name.scores, name.ranked and so on;
    repeat it, or list several."""
    actors: int | None = None
    """With --apply, how many processes copy; one a core, and none beside this one for a few
    shards."""
    address: str | None = None
    """With --apply, a Ray cluster (auto, or ray://host:port), RAY_ADDRESS by default; without one a
    local Ray is started."""
    single_writer: bool = False
    """With --apply, allow a store that cannot create a file only if it is absent; one curate at a
    time then."""
    json: bool = False
    """Print the summary as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(CurateConfig, "curate", __doc__, _curate, arguments)


def _curate(config: CurateConfig) -> int:
    _check(config)
    from scanner.curation import (
        LimitExceeded,
        choose_image_key,
        curate,
        difference,
        load_baseline,
        read_policy,
    )
    from scanner.curation.copies.shards import check_destination
    from scanner.query import open_run

    policy = read_policy(config.policy)
    calibration = named_calibration(config.calibration)
    log.info(f"reading {config.run}")
    tables = open_run(config.run, pairs("--with", config.with_), calibration)
    choose_image_key(tables, config.image_key)
    if config.diff:
        load_baseline(tables, config.diff, config.run)
    if config.apply:
        check_destination(
            config.run, config.apply, config.input_root
        )  # before the list in --out is replaced
    try:
        summary = curate(config.run, tables, policy, config.out, config.force, config.csv_safe)
    except LimitExceeded as error:
        for line in error.summary.to_text().splitlines():
            log.warning(line)
        raise
    record: dict[str, Any] = summary.to_json()
    if not config.json:
        show(summary.to_text())
    if config.diff:
        found = difference(tables, config.diff)
        record["diff"] = found.to_json()
        if not config.json:
            show("\n" + found.to_text())
            if found.captions:
                print_table(found.captions, ["caption", "samples", "before", "after", "reasons"])
    if not config.json:
        show(f"\nlist     {config.out}/removal_list.parquet, .csv")
        if not config.apply:
            show("next     the same with --apply DIR writes cleaned copies of the shards")
    if config.apply:
        copied = _apply(config, config.apply)
        record["apply"] = copied.to_json()
        if not config.json:
            show(f"copies   {copied.to_text()}")
    if config.json:
        print_json(record)
    return 0


def _check(config: CurateConfig) -> None:
    if not config.out:
        raise UsageError("--out: name the directory that the removal list is written to")
    given = {
        "--actors": config.actors is not None,
        "--address": config.address is not None,
        "--single-writer": config.single_writer,
        "--input-root": bool(config.input_root),
    }
    if any(given.values()) and not config.apply:
        names = ", ".join(name for name in given if given[name])
        raise UsageError(f"{names}: only --apply takes it; name the place for the copies")


def _apply(config: CurateConfig, place: str) -> "Applied":
    from scanner.curation.copies.copying import apply

    return apply(
        config.run,
        config.out,
        place,
        config.actors,
        config.address,
        config.single_writer,
        config.input_root,
    )


if __name__ == "__main__":
    sys.exit(main())
