"""Write a data sheet of a scan on one page of Markdown, for the card of a data set or a model.

It has counts, settings, figures with their limits, and the command of the scan, but no captions,
keys or folders, so that it can be published.

Example: memscan card RUN --calibration calibration.json --name "My data set" --out card.md
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.console.early_checks import check_calibration, check_policy, check_run
from jobs.console.output import write_out
from jobs.console.terminal import command, print_json, show

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class CardConfig:
    """Run, calibration, policy and name."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    out: str | None = None
    """Path or URL of the page; by default it is printed."""
    name: str = "the training set"
    """What the page calls the training set."""
    calibration: str | None = None
    """Calibration written by memscan calibrate (a file or URL), or testbed."""
    policy: str = "default"
    """Policy to evaluate: a TOML file, or default."""
    json: bool = False
    """Print the page's location and size as JSON, or without --out the page."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(CardConfig, "card", __doc__, _card, arguments)


def _card(config: CardConfig) -> int:
    check_run(config.run)
    check_calibration(config.calibration)
    check_policy(config.policy)
    log.info(f"reading {config.run}")

    from jobs.console.calibrations import evaluation_of, named_calibration, null_of
    from scanner.curation import read_policy
    from scanner.query import open_run
    from scanner.report import gather
    from scanner.report.card import render_card

    tables = open_run(config.run, calibration=named_calibration(config.calibration))
    content = gather(
        config.run,
        tables,
        read_policy(config.policy),
        evaluation_of(config.calibration),
        top=1,
        null=null_of(config.calibration),
    )
    page = render_card(content, config.name)
    if config.out is None:
        if config.json:
            print_json({"page": page})
        else:
            show(page.rstrip("\n"))
        return 0
    written = write_out(config.out, lambda file: file.write(page.encode()))
    if config.json:
        print_json({"out": config.out, "bytes": written})
    else:
        show(f"{config.out} ({written:,} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
