"""Generate from the captions most likely memorized, and say which really come out as copies.

A caption is drawn with several seeds, and the pictures are compared with each other and with the
training image (beside the caption, or by --images). Verdicts: verbatim (the training image, by
this caption alone), template (a part of it, or one picture for several captions), seed-consistent
(the seeds agree, but no training image was compared that the pictures are like: they may be
another caption's), none. They join the run as the view verdicts, or, with --mitigate, as the view
mitigated, with how many verdicts differ from the plain ones.
The same command again goes on where it stopped.

Examples: memscan verify RUN --top 200
          memscan verify RUN --captions suspects.txt --images 's3://bucket/images/{key}.jpg'
          memscan verify RUN --top 200 --mitigate
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jobs.logs import LogOptions
from jobs.progress import DrawnProgress
from jobs.terminal import command, print_json, quiet_libraries, show, warn
from scanner.evidence.verify.config import VerifyConfig

if TYPE_CHECKING:
    from scanner.evidence.verify.drive import Verification


@dataclass(frozen=True)
class VerifyCommand(VerifyConfig, LogOptions):
    """What to verify, and how messages are written."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(VerifyCommand, "verify", __doc__, _verify, arguments)


def _verify(config: VerifyConfig) -> int:
    config.check()  # before the libraries load: a wrong option should show at once

    from scanner.evidence.verify.drive import verify

    quiet_libraries()
    with DrawnProgress() as progress:
        found = verify(config, progress)
    if config.json:
        print_json(_record(config, found))
    else:
        _print(config, found)
    for problem in (found.warning, *found.complaints):
        if problem:
            warn(problem)
    return 3 if found.complaints else 0


def _record(config: VerifyConfig, found: "Verification") -> dict[str, Any]:
    record = {
        "verdicts": found.verdicts,
        "compared": found.compared,
        "warning": found.warning,
        "images_per_second": found.images_per_second,
        "images": found.images,
        "out": found.out,
        "complaints": found.complaints,
    }
    if config.mitigate:
        record["mitigation"] = asdict(config.mitigation)
        record["against_plain"] = found.changes and asdict(found.changes)
    return record


def _print(config: VerifyConfig, found: "Verification") -> None:
    width = max(map(len, found.verdicts)) + 2
    for verdict, count in found.verdicts.items():
        show(f"{verdict:{width}}{count:6,}")
    if found.images:
        show(f"{found.images:,} images, {found.images_per_second:.1f} per second")
    show(f"pictures in {found.out}")
    if found.changes:
        changes = found.changes
        show(f"\n{changes.changed:,} of {changes.captions:,} verdicts differ from the plain ones")
        show(f"{'plain':{width}}{''.join(f'{k:>{width}}' for k in changes.to)}   when mitigated")
        for before, after in changes.to.items():
            show(f"{before:{width}}" + "".join(f"{count:{width},}" for count in after.values()))
    elif config.mitigate:
        show("\nno plain verification to compare with: leave out --mitigate, and one is made")
    query = '"FROM mitigated"' if config.mitigate else "--name precision_at_depth"
    show(f"next: memscan sql {shlex.quote(config.run)} {query}")


if __name__ == "__main__":
    sys.exit(main())
