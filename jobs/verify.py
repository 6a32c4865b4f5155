"""Generate images from top-ranked captions and detect copies.

Generates images for each caption with several seeds, and compares them with each other and with the
training image (stored next to the caption, or given by --images). Verdicts: verbatim (the training
image, from no other caption), template (a part of it, or one image for several captions),
seed-consistent (the seeds agree, but no matching training image was compared; the image may belong
to another caption), none. Adds them to the run as the view verdicts, or, with --mitigate, as the
view mitigated, and reports how many verdicts mitigation changes. Rerun the same command to resume.

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
        verification = verify(config, progress)
    if config.json:
        print_json(_record(config, verification))
    else:
        _print(config, verification)
    for problem in (verification.warning, *verification.complaints):
        if problem:
            warn(problem)
    return 3 if verification.complaints else 0


def _record(config: VerifyConfig, verification: "Verification") -> dict[str, Any]:
    record = {
        "verdicts": verification.verdicts,
        "compared": verification.compared,
        "warning": verification.warning,
        "images_per_second": verification.images_per_second,
        "images": verification.images,
        "out": verification.out,
        "complaints": verification.complaints,
    }
    if config.mitigate:
        record["mitigation"] = asdict(config.mitigation)
        record["against_plain"] = verification.changes and asdict(verification.changes)
    return record


def _print(config: VerifyConfig, verification: "Verification") -> None:
    width = max(map(len, verification.verdicts)) + 2
    for verdict, count in verification.verdicts.items():
        show(f"{verdict:{width}}{count:6,}")
    if verification.images:
        rate = f"{verification.images_per_second:.1f} images per second"
        show(f"{verification.images:,} images generated, {rate}")
    show(f"images in {verification.out}")
    if verification.changes:
        changes = verification.changes
        show(f"\nmitigation changed {changes.changed:,} of {changes.captions:,} verdicts")
        show("rows: verdict without mitigation; columns: with mitigation")
        show(f"{'without':{width}}" + "".join(f"{kind:>{width}}" for kind in changes.to))
        for before, after in changes.to.items():
            show(f"{before:{width}}" + "".join(f"{count:{width},}" for count in after.values()))
    elif config.mitigate:
        show(
            "\nno verification without mitigation to compare with; run the command without "
            "--mitigate first"
        )
    query = '"FROM mitigated"' if config.mitigate else "--name precision_at_depth"
    show(f"next: memscan sql {shlex.quote(config.run)} {query}")


if __name__ == "__main__":
    sys.exit(main())
