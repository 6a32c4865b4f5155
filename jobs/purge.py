"""Remove taken-down samples and captions from a run.

Examples: memscan purge RUN --list takedowns.csv --dry-run
          memscan purge RUN --list takedowns.csv --index s3://bucket/index

Removes the samples that a list names by key, URL or caption, other samples of their images, and
captions that lose their last sample: from the run's tables, scores, verdicts, sample scores, image
clusters and decisions, the generated images in the run, and the indexes of training images that
--index names. Rerun the command to finish a purge that was killed. It prints what it cannot reach,
such as reports written before. To leave samples out of training, use memscan curate --list.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.console.early_checks import check_files, check_run
from jobs.console.logs import LogOptions
from jobs.console.terminal import command, print_json, show
from scanner.errors import UsageError


@dataclass(frozen=True)
class PurgeConfig(LogOptions):
    """Which run, and what to remove."""

    run: Annotated[str, tyro.conf.Positional]
    """The run's directory or URL."""
    list_: Annotated[
        tuple[str, ...],
        tyro.conf.arg(name="list", metavar="[REASON=]FILE", help_behavior_hint="(required)"),
    ] = ()
    """A txt of keys or URLs, a table with a column key, uid, sample_id, url, image_url (or, without
    these, caption or caption_id: all samples of the captions; or else id), or a .npy of uids;
    repeat the option, or list several."""
    index: Annotated[tuple[str, ...], tyro.conf.arg(metavar="INDEX")] = ()
    """Also remove the images from an index that memscan index-images made (its directory or URL);
    repeat the option, or list several."""
    dry_run: bool = False
    """Only count what would be removed."""
    single_writer: bool = False
    """Allow a store without create-if-absent (conditional writes)."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(PurgeConfig, "purge", __doc__, _purge, arguments)


def _purge(config: PurgeConfig) -> int:
    if not config.list_:
        raise UsageError("--list: name at least one list of keys or URLs to remove")
    check_run(config.run)

    from scanner.curation import parse_lists

    lists = parse_lists(config.list_)
    check_files("--list", (one.url for one in lists))

    from scanner.curation.purging import purge

    done = purge(config.run, lists, config.dry_run, config.single_writer, config.index)
    if config.json:
        print_json(done.to_json())
    else:
        show(done.to_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
