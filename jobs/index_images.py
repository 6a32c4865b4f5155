"""Index the images of a training set, to find which of them an image is a copy of.

Computes one embedding per distinct image of a run's training set, or of input files, and writes
them as sorted Parquet shards. memscan verify RUN --index INDEX compares what a model generates with
all of them, and memscan find-image FILE does so for any image. Rerun the same command to resume.

Examples: memscan index-images RUN --out s3://bucket/index
          memscan index-images 'data/*.tar' --out index --embedding sscd.pt --embedding-sha256 HASH
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jobs.console.early_checks import check_files
from jobs.console.escaping import printable
from jobs.console.logs import LogOptions
from jobs.console.progress import IndexProgress
from jobs.console.terminal import announce_loading, command, print_json, show, warn
from scanner.evidence.index.config import IndexConfig

if TYPE_CHECKING:
    from scanner.evidence.index.build import IndexResult


@dataclass(frozen=True)
class IndexCommand(IndexConfig, LogOptions):
    """What to index, and how messages are written."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(IndexCommand, "index-images", __doc__, _index, arguments)


def _index(config: IndexConfig) -> int:
    config.check()
    check_files("--embedding", [config.embedding])
    check_files("INPUTS", [name for name in config.inputs if not set(name) & set("*?[")])
    announce_loading("PyTorch and Ray")

    from scanner.evidence.index.build import index_images

    with IndexProgress() as progress:
        result = index_images(config, progress)
    if config.json:
        print_json(_record(result))
    else:
        _print(result)
    for complaint in result.complaints:
        warn(complaint)
    return 3 if result.complaints else 0


def _record(result: "IndexResult") -> dict[str, Any]:
    return {
        **asdict(result.record),
        "reasons": result.manifest.reasons,
        "shards": len(result.manifest.shards),
        "images_per_second": result.images_per_second,
        "out": result.out,
        "complaints": result.complaints,
    }


def _print(result: "IndexResult") -> None:
    counts = result.record.counts
    show(f"{'images':11}{counts['images']:,}, of {counts['samples']:,} samples")
    for reason, count in result.manifest.reasons.items():
        show(f"{'unreadable':11}{count:,}: {printable(reason)}")
    embedding = printable(result.record.embedding["name"])
    show(f"{'embedding':11}{embedding}, {result.record.dimension} numbers")
    if result.images_per_second:
        show(f"{'speed':11}{result.images_per_second:,.0f} images per second")
    show(f"{'index':11}{len(result.manifest.shards):,} shards in {result.out}")


if __name__ == "__main__":
    sys.exit(main())
