"""How well each signal and their combination tell memorized captions, by labels, and a file for
rank, sql and curate; or, without labels, the list that a wanted share of false ones allows.

Examples: memscan calibrate RUN --labels labels.csv --out calibration.json
          memscan calibrate RUN --calibration calibration.json --fdr 0.05
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jobs.calibrations import evaluation_of, named_calibration, named_labels, say_doubt
from jobs.escaping import printable
from jobs.findings import print_discovery, print_findings, print_thresholds
from jobs.terminal import command, print_json, show, warn
from scanner.errors import UsageError

if TYPE_CHECKING:
    from scanner.calibration import Discovery, Findings, Labelled
    from scanner.query import Calibration, RunTables


@dataclass(frozen=True)
class CalibrateConfig:
    """Which run, which labels, which error rates."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    labels: str | None = None
    """A csv, tsv, jsonl or parquet file with caption, caption_id or key, and memorized, label or
    verdict (true or false, 1 or 0, verbatim, template or none); or verdicts, those of the run."""
    count_seed_consistent: bool = False
    """With labels that are verdicts: take seed-consistent captions for memorized; by default they
    are left out, since no training image shows that they are copies."""
    out: str | None = None
    """Write the calibration to this file or URL."""
    prevalence: float | None = None
    """With labels: the share of the captions to be ranked that is memorized, which a probability
    depends on; by default the share among the labels."""
    fpr: float = 0.01
    """With labels: false-positive rate of the thresholds in the file."""
    fdr: float = 0.1
    """The share of the list that may be false; with labels, one more rate at which the promise is
    put to the test."""
    by: str | None = None
    """Without labels: the signal that the list goes by; the run's decision signal by default."""
    calibration: str | None = None
    """Without labels: the list goes by this calibration's combination (a file, or testbed)."""
    null: Literal["reference", "bulk"] = "reference"
    """Without labels: what the list is compared with. reference, the captions of scan --reference;
    bulk, the run's own, an assumption."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(CalibrateConfig, "calibrate", __doc__, _calibrate, arguments)


def _calibrate(config: CalibrateConfig) -> int:
    _check(config)
    return _by_labels(config) if config.labels else _by_null(config)


def _check(config: CalibrateConfig) -> None:
    for name in ("prevalence", "fpr", "fdr"):
        value = getattr(config, name)
        if value is not None and not 0 < value < 1:
            raise UsageError(f"--{name} {value}: must lie between 0 and 1")
    alone = [name for name in ("by", "calibration") if getattr(config, name)]
    alone += ["null"] if config.null != "reference" else []
    if config.labels and alone:
        raise UsageError(f"--{alone[0]} is for lists without --labels; leave one of them out")
    if config.count_seed_consistent and not config.labels:
        raise UsageError("--count-seed-consistent is for --labels verdicts; add that")
    if config.prevalence is not None and not config.labels:
        raise UsageError("--prevalence: what is fitted by it needs --labels FILE")


def _by_labels(config: CalibrateConfig) -> int:
    from scanner.calibration import (
        calibrate,
        findings_record,
        match,
        write_calibration,
    )
    from scanner.query import open_run

    tables = open_run(config.run)
    labels = named_labels(str(config.labels), tables, config.count_seed_consistent)
    labelled = match(tables, labels)
    found, calibration = calibrate(tables, labelled, config.prevalence, config.fpr, config.fdr)
    record = findings_record(found)
    if config.out:
        write_calibration(config.out, calibration, record)
    if config.json:
        dropped = {
            "unknown": labelled.unknown,
            "contradicted": labelled.contradicted,
            "unlabelled": labels.unlabelled,
            "seed_consistent": labels.seed_consistent,
        }
        print_json({**record, "labels": dropped, "out": config.out})
        return 0
    _print_labelled(labelled, found)
    if config.labels == "verdicts":
        warn(
            "verdicts are of captions that were chosen to be verified; what is said here "
            "holds for captions chosen alike, not for all"
        )
    print_findings(found, given=config.prevalence is not None)
    print_thresholds(calibration)
    say_doubt(record)
    _print_next(config)
    return 0


def _by_null(config: CalibrateConfig) -> int:
    from scanner.calibration import discover, discovery_record, write_calibration
    from scanner.query import open_run

    calibration = named_calibration(config.calibration)
    tables = open_run(config.run, calibration=calibration)
    found = discover(tables, config.by, config.fdr, config.null)
    record = discovery_record(found)
    if config.null == "reference":
        _say_overlap(tables)
    if calibration and calibration.references and found.kind == "reference":
        warn(
            f"{calibration.source} was fitted on {calibration.references:,} reference "
            "captions of its run; if they are these, the list is wronger than it says"
        )
    if config.out:
        earlier = evaluation_of(config.calibration) or {}
        write_calibration(config.out, _with_list(tables, found), {**earlier, "null": record})
    if config.json:
        print_json({"null": record, "out": config.out})
        return 0
    print_discovery(found, record["assumption"])
    _print_next(config)
    return 0


def _say_overlap(tables: "RunTables") -> None:
    query = """SELECT count(DISTINCT caption_id) AS n
        FROM samples SEMI JOIN (FROM captions WHERE NOT is_reference) USING (caption_id)
        WHERE is_reference"""
    both = tables.query(query)["n"][0].as_py()
    if both:
        warn(f"reference captions that are in the training set too, and left out: {both:,}")


def _with_list(tables: "RunTables", found: "Discovery") -> "Calibration":
    """What was fitted before, if anything, with the list's threshold for its signal."""
    from scanner.calibration import list_threshold
    from scanner.query import Calibration, binding_of

    before = tables.calibration or Calibration("", binding_of(tables.fingerprint), {}, 0.0, ())
    kept = tuple(one for one in before.thresholds if one.signal != found.signal)
    own = list_threshold(found, tables.schema)
    return replace(before, thresholds=kept + ((own,) if own else ()))


def _print_labelled(labelled: "Labelled", found: "Findings") -> None:
    show(
        f"{found.captions:,} labelled captions, {found.memorized:,} of them memorized, in "
        f"{found.clusters:,} clusters of near-copies"
    )
    if labelled.unknown:
        warn(f"{labelled.unknown:,} labels name no caption that this run has scored")
    if labelled.contradicted:
        warn(f"{labelled.contradicted:,} captions left out: the labels say both of them")


def _print_next(config: CalibrateConfig) -> None:
    if config.out:
        show(f"\ncalibration  {printable(config.out)}")
        show(f"next         memscan rank {config.run} --calibration {printable(config.out)}")
    else:
        show("\nnothing written; --out FILE keeps the calibration")


if __name__ == "__main__":
    sys.exit(main())
