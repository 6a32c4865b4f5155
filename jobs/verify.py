"""Generate from the captions most likely memorized, and say which really come out as copies.

A caption is drawn with several seeds. Memorized ones come out as the same picture whatever the
seed; where the training image can be had (beside the caption, or by --images), the pictures are
compared with it too. Verdicts: verbatim (the whole picture, of this caption alone), template (a
part of it, or one picture for several captions), none. They join the run as the view verdicts,
or, with --mitigate, as the view mitigated, with how many verdicts differ from the plain ones.
The same command again goes on where it stopped.

Examples: memscan verify RUN --top 200
          memscan verify RUN --captions suspects.txt --images 's3://bucket/images/{key}.jpg'
          memscan verify RUN --top 200 --mitigate
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jobs.progress import DrawnProgress
from jobs.terminal import command, print_json, quiet_libraries, say
from scanner.evidence.verify.config import VerifyConfig

if TYPE_CHECKING:
    from scanner.evidence.verify.drive import Verification


def main(arguments: Sequence[str] | None = None) -> int:
    return command(VerifyConfig, "verify", __doc__, _verify, arguments)


def _verify(config: VerifyConfig) -> int:
    config.check()  # before the libraries load: a wrong option should show at once

    from scanner.evidence.verify.drive import verify

    quiet_libraries()
    with DrawnProgress() as progress:
        found = verify(config, say, progress)
    if config.json:
        print_json(_record(config, found))
    else:
        _print(config, found)
    for complaint in found.complaints:
        say(f"memscan: {complaint}")
    return 3 if found.complaints else 0


def _record(config: VerifyConfig, found: "Verification") -> dict[str, Any]:
    record = {
        "verdicts": found.verdicts,
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
    for verdict, count in found.verdicts.items():
        print(f"{verdict:10}{count:6,}")
    if found.images:
        print(f"{found.images:,} images, {found.images_per_second:.1f} a second")
    print(f"pictures in {found.out}")
    if found.changes:
        changes = found.changes
        print(f"\n{changes.changed:,} of {changes.captions:,} verdicts differ from the plain ones")
        print("plain     " + "".join(f"{kind:>12}" for kind in changes.to) + "   when mitigated")
        for before, after in changes.to.items():
            print(f"{before:10}" + "".join(f"{count:12,}" for count in after.values()))
    elif config.mitigate:
        print("\nno plain verification to compare with: leave out --mitigate, and one is made")
    query = '"FROM mitigated"' if config.mitigate else "--name precision_at_depth"
    print(f"next: memscan sql {config.run} {query}")


if __name__ == "__main__":
    sys.exit(main())
