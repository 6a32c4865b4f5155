"""Simulate the driver of a scan at the full size: plan, commits and manifest, without captions.

Writes the table of infra/README.md. Each stage runs in a new process, on a store that counts the
requests of S3 and makes up the commits of the slices; queries run on real files of one row each.

Example: python -m jobs.studies.scale --captions 10000000 100000000 1000000000
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.console.terminal import command, show


@dataclass(frozen=True)
class ScaleConfig:
    """The runs to simulate."""

    captions: tuple[int, ...] = (10_000_000,)
    """Numbers of distinct captions, one run each."""
    slice_captions: int = 512
    """Captions per slice."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ScaleConfig, "jobs.studies.scale", __doc__, _study, arguments)


def _study(config: ScaleConfig) -> int:
    from jobs.studies.scale.stages import simulate

    for captions in config.captions:
        show("\n".join(simulate(captions, config.slice_captions)))
        show("")
    return 0


if __name__ == "__main__":
    sys.exit(main())
