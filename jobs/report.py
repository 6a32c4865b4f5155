"""Write a run's report: one HTML page that needs no network.

Example: memscan report RUN --calibration calibration.json --out report.html
"""

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.calibrations import evaluation_of, named_calibration, named_labels, null_of
from jobs.output import write_out
from jobs.terminal import command, print_json, show
from scanner.errors import UsageError, UserError

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class ReportConfig:
    """Which run, and what the page has."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    out: str = "report.html"
    """The page: a file or URL."""
    calibration: str | None = None
    """A calibration of memscan calibrate (a file or URL, or testbed)."""
    labels: str | None = None
    """Labels as memscan calibrate takes them: histograms show the memorized captions apart. By
    default those that verification found copied."""
    count_seed_consistent: bool = False
    """Take seed-consistent verdicts for copies, in the precision and the labels; by default only
    pictures that are like a training image are."""
    policy: str = "default"
    """The policy whose effect is shown: a TOML file, or default."""
    top: int = 1000
    """How many captions of the ranking are listed."""
    pictures: int = 100
    """Of how many verified captions small pictures are shown."""
    input_root: tuple[str, ...] = ()
    """Also show pictures below this directory or URL: of verify --out, and training images in a
    store; by default those in the run, and local training images below the scan's --captions."""
    json: bool = False
    """Print where the page is and its size as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    made_by = shlex.join(["memscan", "report", *words])
    return command(ReportConfig, "report", __doc__, lambda config: _report(config, made_by), words)


def _report(config: ReportConfig, made_by: str) -> int:
    if config.top < 1 or config.pictures < 0:
        raise UsageError("--top: at least 1; --pictures: 0 or more")
    written = write_report(config, made_by)
    if config.json:
        print_json({"out": config.out, "bytes": written})
    else:
        show(f"{config.out} ({written / 1e6:.1f} MB)")
    return 0


def write_report(config: ReportConfig, made_by: str) -> int:
    """Write the page, which says the command that it was made by; its size in bytes."""
    from scanner.curation import read_policy
    from scanner.models.loading import local_tokenizer
    from scanner.models.spec import ModelSpec
    from scanner.query import open_run
    from scanner.report import gather, page
    from scanner.report.pictures import pictures, roots_of
    from scanner.run import Run

    log.info(f"reading {config.run}")
    tables = open_run(config.run, calibration=named_calibration(config.calibration))
    evaluation = evaluation_of(config.calibration)
    counting = config.count_seed_consistent
    labels = named_labels(config.labels, tables, counting) if config.labels else None
    found = gather(
        config.run,
        tables,
        read_policy(config.policy),
        evaluation,
        config.top,
        labels,
        null_of(config.calibration),
        counting,
    )
    log.info(f"drawing {config.out}")
    tokenizer = None
    try:
        tokenizer = local_tokenizer(ModelSpec.of_run(found.record))
    except UserError as error:
        log.info(f"words are not shaded, only triggers marked: {error}")
    roots = roots_of(found.record, config.input_root)
    store = Run.existing(config.run).store
    shown = pictures(store, found.rows, config.pictures, roots)
    text = page(found, tokenizer, shown, made_by).encode()
    return write_out(config.out, lambda file: file.write(text))


if __name__ == "__main__":
    sys.exit(main())
