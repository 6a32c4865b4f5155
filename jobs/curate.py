"""Write a removal list, and cleaned copies of the shards.

Examples: memscan curate RUN --out curated
          memscan curate RUN --policy mine.toml --out curated-2 --diff curated
          memscan curate RUN --policy mine.toml --out curated-2 --apply s3://bucket/cleaned

A policy is a TOML file of ordered rules; the first one that matches a caption decides about its
samples, and about other samples with the same image. The output directory contains the policy as
policy.toml: copy and edit it. Nothing is scored again.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jobs.console.calibrations import named_calibration
from jobs.console.early_checks import check_calibration, check_files, check_policy, check_run
from jobs.console.logs import LogOptions
from jobs.console.options import pairs
from jobs.console.tables import print_table
from jobs.console.terminal import command, next_step, print_json, show
from scanner.errors import UsageError

if TYPE_CHECKING:
    from scanner.curation.copies.copying import Applied
    from scanner.curation.policy import Policy
    from scanner.curation.summary import Summary

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class CurateConfig(LogOptions):
    """Run, policy and output directories."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    out: Annotated[str, tyro.conf.arg(help_behavior_hint="(required)")] = ""
    """Directory or URL for removal_list.csv (the rows to remove), recaption_list.csv (those to
    recaption, if a rule does), removal_list.parquet (all rows that a rule decides), lists of keys
    and URLs for training code, summary.json and .txt, and policy.toml; replaces an earlier list
    there."""
    policy: str = "default"
    """TOML file with rules, or default."""
    calibration: str | None = None
    """Calibration that provides probabilities for rules and the expected number of false removals:
    a file or URL written by memscan calibrate, or testbed."""
    list_: Annotated[tuple[str, ...], tyro.conf.arg(name="list", metavar="[REASON=]FILE")] = ()
    """Also remove the samples that a list names (opt-outs, takedowns), whatever the policy says,
    and other samples of their images: a txt of keys or URLs, a table with a column key, uid,
    sample_id, url, image_url (or, without these, caption or caption_id: all samples of the
    captions; or else id), another run's removal_list.parquet, or a .npy of uids. REASON, by
    default the file's name, is stored with each sample; repeat the option, or list several."""
    apply: str | None = None
    """Also write cleaned copies of the input shards to this directory or URL, with the same format
    and columns. Rerun the same command to resume."""
    input_root: tuple[str, ...] = ()
    """With --apply, also copy input files below this directory or URL, in addition to those below
    the scan's --captions; repeat the option, or list several."""
    apply_to: tuple[str, ...] = ()
    """With --apply, clean these files, globs or directories instead of the scanned ones: another
    copy of the data, whose rows are found by key, or by URL in files without a key."""
    diff: str | None = None
    """Show what changes compared with another policy, or with an earlier --out directory."""
    force: bool = False
    """Write the list even if one source or one cluster loses more than the policy's limits
    allow."""
    csv_safe: bool = False
    """In the CSV lists, put an apostrophe before each cell that a spreadsheet would run as a
    formula (one that starts with = + - @, a tab or a line break). The Parquet list, which --apply
    reads, is not changed."""
    image_key: str = "image_key"
    """Column that identifies the image (samples with equal values share one image): removing a
    sample also removes other captions' samples of its image. none: ignore images."""
    with_: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Attach another run: name=RUN adds the views name.scores, name.ranked and so on, for use in
    predicates; repeat the option, or list several."""
    actors: int | None = None
    """With --apply, number of copy processes. Default: one per core; a few shards are copied in
    this process."""
    address: str | None = None
    """With --apply, a Ray cluster (auto, or ray://host:port), RAY_ADDRESS by default. If
    unset, starts Ray locally; a few shards are copied without Ray."""
    runtime_env: str | None = None
    """With --apply, the runtime environment of the copy processes on a cluster that lacks memscan,
    as of memscan scan."""
    single_writer: bool = False
    """With --apply, allow a store without create-if-absent (conditional writes); then run only one
    curate at a time."""
    json: bool = False
    """Print the summary as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(CurateConfig, "curate", __doc__, _curate, arguments)


def _curate(config: CurateConfig) -> int:
    _check(config)
    check_run(config.run)
    check_calibration(config.calibration)
    check_policy(config.policy)
    log.info(f"reading {config.run}")
    return _write_list(config)


def _write_list(config: CurateConfig) -> int:
    from scanner.curation import (
        LimitExceeded,
        choose_image_key,
        curate,
        difference,
        load_baseline,
        match_lists,
        parse_lists,
        read_policy,
    )
    from scanner.curation.copies.shards import check_destination
    from scanner.query import open_run

    lists = parse_lists(config.list_)
    check_files("--list", (one.url for one in lists))
    policy = read_policy(config.policy)
    _refuse_other_images(config, policy)
    calibration = named_calibration(config.calibration)
    tables = open_run(config.run, pairs("--with", config.with_), calibration)
    if lists:
        match_lists(tables, lists)
    choose_image_key(tables, config.image_key)
    if config.diff:
        load_baseline(tables, config.diff, config.run)
    if config.apply and not config.apply_to:
        # Fails before the list in --out is replaced.
        check_destination(config.run, config.apply, config.input_root)
    try:
        summary = curate(
            config.run, tables, policy, config.out, config.force, config.csv_safe, lists
        )
    except LimitExceeded as error:
        for line in error.summary.to_text().splitlines():
            log.warning(line)
        raise
    record: dict[str, Any] = summary.to_json()
    if not config.json:
        show(summary.to_text())
    if config.diff:
        changes = difference(tables, config.diff)
        record["diff"] = changes.to_json()
        if not config.json:
            show("\n" + changes.to_text())
            if changes.captions:
                print_table(changes.captions, ["caption", "samples", "before", "after", "reasons"])
    if not config.json:
        recaptions = ", recaption_list.csv" if summary.actions["recaption"] else ""
        names = f"removal_list.csv (the rows to remove){recaptions}, removal_list.parquet"
        show(f"\nlist     {config.out}/{names}")
        if not config.apply:
            _print_next(config, summary)
    if config.apply:
        copied = _apply(config, config.apply)
        record["apply"] = copied.to_json()
        if not config.json:
            show(f"copies   {copied.to_text()}")
    if config.json:
        print_json(record)
    return 0


def _refuse_other_images(config: CurateConfig, policy: "Policy") -> None:
    if config.image_key != "image_key" and any(rule.of == "image_cluster" for rule in policy.rules):
        raise UsageError(
            f"--image-key {config.image_key}: a rule is of image clusters, which memscan "
            "group-images makes of the column image_key; leave out --image-key"
        )


def _check(config: CurateConfig) -> None:
    if not config.out:
        raise UsageError("--out: name the directory for the removal list")
    apply_options = {
        "--actors": config.actors is not None,
        "--address": config.address is not None,
        "--runtime-env": config.runtime_env is not None,
        "--single-writer": config.single_writer,
        "--input-root": bool(config.input_root),
        "--apply-to": bool(config.apply_to),
    }
    if any(apply_options.values()) and not config.apply:
        names = ", ".join(name for name, is_given in apply_options.items() if is_given)
        raise UsageError(f"{names}: needs --apply, the directory or URL for the copies")
    if config.runtime_env:
        from scanner.cluster.connection.runtime_env import check_runtime_env

        check_runtime_env(config.runtime_env, config.address)


def _print_next(config: CurateConfig, summary: "Summary") -> None:
    is_changed = summary.removed or summary.actions["recaption"]
    if is_changed or (summary.rejects["rows"] and summary.rejects["action"] == "drop"):
        show("next: add --apply DIR to write cleaned copies of the shards")
    elif config.policy == CurateConfig.policy:
        show("the default policy reads decisions, verdicts, a calibration or reference captions")
        next_step("memscan", "verify", config.run, "--top", "100")


def _apply(config: CurateConfig, copies: str) -> "Applied":
    if config.runtime_env:
        from scanner.cluster.connection.placement import join_with

        join_with(config.runtime_env, config.address)
    if config.apply_to:
        return _apply_to(config, copies)
    from scanner.curation.copies.copying import apply

    return apply(
        config.run,
        config.out,
        copies,
        config.actors,
        config.address,
        config.single_writer,
        config.input_root,
    )


def _apply_to(config: CurateConfig, copies: str) -> "Applied":
    from scanner.curation.copies.other_copy import apply_to
    from scanner.run import Run

    plan = Run.existing(config.run).plan()
    keys = {one["key"] for one in plan.columns.values() if one["key"]} if plan else set()
    return apply_to(
        config.apply_to,
        config.out,
        copies,
        next(iter(sorted(keys)), None),
        config.actors,
        config.address,
        config.single_writer,
        config.input_root,
    )


if __name__ == "__main__":
    sys.exit(main())
