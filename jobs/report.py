"""Write a report about a run as one HTML page.

Example: memscan report RUN --calibration calibration.json --out report.html
"""

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.console.calibrations import evaluation_of, named_calibration, named_labels, null_of
from jobs.console.early_checks import check_calibration, check_labels, check_policy, check_run
from jobs.console.output import write_out
from jobs.console.terminal import command, print_json, show
from scanner.errors import UsageError, UserError
from scanner.evidence.training_images.place import ImagePlace

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class ReportConfig(ImagePlace):
    """Run, calibration, labels and limits of the page."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    out: str = "report.html"
    """Path or URL of the page."""
    calibration: str | None = None
    """Calibration written by memscan calibrate (a file or URL), or testbed."""
    labels: str | None = None
    """Labels as for memscan calibrate, to show memorized captions separately in the histograms; by
    default, captions whose verdict is a copy count as memorized."""
    count_seed_consistent: bool = False
    """Count seed-consistent verdicts as copies, in the precision and the labels; by default only
    images that match a training image count."""
    policy: str = "default"
    """Policy to evaluate: a TOML file, or default."""
    top: int = 1000
    """Number of ranked captions to list."""
    pictures: int = 100
    """Maximum number of verified captions shown with images; with fewer, images are larger (a page
    of 1,000 captions stays below 5 MB)."""
    input_root: tuple[str, ...] = ()
    """Also show images below this directory or URL, such as those of verify --out or training
    images in a store. By default only images in the run, local training images below the scan's
    --captions and those of --images are shown."""
    json: bool = False
    """Print the page's location and size as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    made_by = shlex.join(["memscan", "report", *words])
    return command(ReportConfig, "report", __doc__, lambda config: _report(config, made_by), words)


def _report(config: ReportConfig, made_by: str) -> int:
    if config.top < 1 or config.pictures < 0:
        raise UsageError("--top must be at least 1, --pictures at least 0")
    config.check_images()
    written = write_report(config, made_by)
    if config.json:
        print_json({"out": config.out, "bytes": written})
    else:
        show(f"{config.out} ({written / 1e6:.1f} MB)")
    return 0


def write_report(config: ReportConfig, made_by: str) -> int:
    """Write the page, which names the command ``made_by``; return its size in bytes."""
    check_run(config.run)
    check_calibration(config.calibration)
    check_policy(config.policy)
    check_labels(config.labels)
    log.info(f"reading {config.run}")

    from scanner.curation import read_policy
    from scanner.evidence.training_images.selection import check_images
    from scanner.query import open_run
    from scanner.report import gather, render_report
    from scanner.report.thumbnails import fit_thumbnails, image_roots, read_images
    from scanner.run import Run

    tables = open_run(config.run, calibration=named_calibration(config.calibration))
    if config.images:
        check_images(config.images, tables)
    evaluation = evaluation_of(config.calibration)
    counting = config.count_seed_consistent
    labels = named_labels(config.labels, tables, counting) if config.labels else None
    content = gather(
        config.run,
        tables,
        read_policy(config.policy),
        evaluation,
        config.top,
        labels,
        null_of(config.calibration),
        counting,
    )
    log.info(f"rendering {config.out}")
    from scanner.models.loading import local_tokenizer
    from scanner.models.spec import ModelSpec

    tokenizer = None
    try:
        tokenizer = local_tokenizer(ModelSpec.of_run(content.record))
    except UserError as error:
        log.info(f"words are not shaded, only trigger words are marked: {error}")
    roots = image_roots(content.record, config.input_root)
    store = Run.existing(config.run).store
    images = read_images(store, content.rows, config.pictures, roots, config)
    text = render_report(
        content, tokenizer, made_by, lambda most: fit_thumbnails(images, content.rows, most)
    ).encode()
    return write_out(config.out, lambda file: file.write(text))


if __name__ == "__main__":
    sys.exit(main())
