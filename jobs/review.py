"""Review captions in a browser: decide what is memorized and what to do about it.

Serves a local page over a run. Reviewers go through a queue of captions by keyboard, one by one or
many at once; their decisions are stored beside the run as they are made, and calibrate, curate and
report use them. Stop the server with Ctrl-C; nothing is lost if it is killed.

Examples: memscan review RUN --calibration calibration.json
          memscan review RUN --read-only --port 0
          memscan calibrate RUN --labels decisions --out calibration.json
"""

import getpass
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.console.calibrations import named_calibration
from jobs.console.early_checks import check_calibration, check_run
from jobs.console.heartbeat import pause
from jobs.console.terminal import command, print_json, show
from scanner.errors import UsageError, UserError
from scanner.evidence.training_images.place import ImagePlace

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class ReviewConfig(ImagePlace):
    """Run, calibration, address and files."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    calibration: str | None = None
    """Calibration written by memscan calibrate (a file or URL), or testbed: the queue is then
    ranked by probability, and can be ordered by uncertainty."""
    port: int = 8765
    """Port to listen on; 0 for any free one."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own (127.0.0.1) shows the pages to
    everyone who can reach it and has the token; there is no encryption, so use a proxy with TLS or
    an SSH tunnel."""
    allow_host: tuple[str, ...] = ()
    """Also answer to this name, as browsers send it (name:port, or a proxy's name); needed with
    another --host than 127.0.0.1."""
    reviewer: str | None = None
    """Name that the page suggests to a reviewer; by default that of the user. Each reviewer can
    enter another; names are not verified."""
    read_only: bool = False
    """Show decisions, accept none."""
    index: str | None = None
    """Keep the index of the captions in this local directory, to start at once next time; by
    default it is made again, in a temporary directory."""
    token_file: str | None = None
    """Keep the token of the page's address in this file, so that links still work after a restart;
    by default it is new each time."""
    input_root: tuple[str, ...] = ()
    """Also show images below this directory or URL, such as those of verify --out. By default only
    images in the run, local training images below the scan's --captions and those of --images are
    shown."""
    timeout: float = 60.0
    """Seconds after which a filter's SQL predicate is stopped."""
    json: bool = False
    """Print the address of the page as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ReviewConfig, "review", __doc__, _review, arguments)


def _review(config: ReviewConfig) -> int:
    if not 0 <= config.port < 1 << 16 or config.timeout <= 0:
        raise UsageError("--port must be from 0 to 65535, --timeout above 0")
    config.check_images()
    check_run(config.run)
    check_calibration(config.calibration)
    log.info(f"reading {config.run}")

    from scanner.evidence.training_images.selection import check_images
    from scanner.models.loading import local_tokenizer
    from scanner.models.spec import ModelSpec
    from scanner.query import open_run
    from scanner.report.thumbnails import image_roots
    from scanner.review import ServeOptions, make_site, open_index, serve
    from scanner.review.serve import read_token
    from scanner.run import Run

    token = read_token(config.token_file)
    calibration = named_calibration(config.calibration)
    tables = open_run(config.run, calibration=calibration, timeout=config.timeout)
    if config.images:
        check_images(config.images, tables)
    index = open_index(tables, config.index)
    record = Run.existing(config.run).record() or {}
    tokenizer = None
    try:
        tokenizer = local_tokenizer(ModelSpec.of_run(record))
    except UserError as error:
        log.info(f"words are not shaded, only trigger words are marked: {error}")
    roots = image_roots(record, config.input_root)
    reviewer = config.reviewer or _user()
    pages = f"/{token}", reviewer, config.read_only
    site = make_site(tables, index, tokenizer, roots, *pages, config)

    def started(url: str) -> None:
        pause()  # from here on, it waits for reviewers
        if config.json:
            print_json({"url": url, "captions": len(index), "read_only": config.read_only})
            sys.stdout.flush()
        else:
            show(f"review   {url}\n         {len(index):,} captions; stop with Ctrl-C")

    serve(site, token, ServeOptions(config.host, config.port, config.allow_host), started)
    return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "reviewer"


if __name__ == "__main__":
    sys.exit(main())
