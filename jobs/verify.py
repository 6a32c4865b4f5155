"""Generate images from top-ranked captions and detect copies.

Generates images for each caption with several seeds, and compares them with each other and with the
training image (stored next to the caption, or given by --images). Verdicts: verbatim (the training
image, from no other caption), template (a part of it, or one image for several captions),
seed-consistent (the seeds agree, but no matching training image was compared; the image may belong
to another caption), none. With --index, also finds the nearest of all training images
(source_keys), and whether it is one of the caption or only of others (source_match). Adds the
verdicts to the run as the view verdicts, or, with --mitigate, as the view mitigated, and reports
how many verdicts mitigation changes. With --adversarial, also searches near each caption for a
start that reproduces the training image after all, despite --mitigate or by a fine-tuned --model,
and gives it a second verdict (adversarial_verdict). Rerun the same command to resume.

Examples: memscan verify RUN --top 200
          memscan verify RUN --top 200 --index INDEX
          memscan verify RUN --captions suspects.txt --images 's3://bucket/images/{key}.jpg'
          memscan verify RUN --top 200 --mitigate
          memscan verify RUN --top 50 --mitigate --method guard --adversarial
          memscan verify RUN --top 50 --model tuned --adversarial
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jobs.console.early_checks import check_files, check_model, check_run
from jobs.console.logs import LogOptions
from jobs.console.progress import DrawnProgress
from jobs.console.terminal import command, load_libraries, next_step, print_json, show, warn
from scanner.evidence.verify.config import VerifyConfig
from scanner.run.verdicts import OTHER, OWN, OWN_CAPTION, SOURCE_NONE

if TYPE_CHECKING:
    from scanner.evidence.verify.attacking import AttackOutcome
    from scanner.evidence.verify.verification import Verification


_SOURCES = {
    OWN: "one of the caption's own",
    OTHER: "one of other captions only",
    SOURCE_NONE: "none",
}
_STARTS = {"embedding": "a moved embedding", "swap": "replaced words", OWN_CAPTION: "the caption"}


@dataclass(frozen=True)
class VerifyCommand(VerifyConfig, LogOptions):
    """What to verify, and how messages are written."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(VerifyCommand, "verify", __doc__, _verify, arguments)


def _verify(config: VerifyConfig) -> int:
    config.check()
    check_run(config.run)
    check_model(config.model)
    check_files("--captions", [config.captions])
    check_files("--index", [config.index])
    check_files("--embedding", [config.embedding])
    load_libraries()

    from scanner.evidence.verify.drive import verify

    with DrawnProgress() as progress:
        verification = verify(config, progress, progress.searched)
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
    if verification.sources is not None:
        record["sources"] = verification.sources
    if verification.attacks is not None:
        record["adversary"] = asdict(config.adversary) | asdict(verification.attacks)
    if config.mitigate:
        record["mitigation"] = config.mitigation.options
        record["against_plain"] = verification.changes and asdict(verification.changes)
    return record


def _print(config: VerifyConfig, verification: "Verification") -> None:
    width = max(map(len, verification.verdicts)) + 2
    for verdict, count in verification.verdicts.items():
        show(f"{verdict:{width}}{count:6,}")
    if verification.sources is not None:
        show("training image matched, of all in the index:")
        for match, count in verification.sources.items():
            show(f"  {_SOURCES[match]:{max(map(len, _SOURCES.values()))}}{count:6,}")
    if verification.attacks is not None:
        _print_attacks(verification.attacks, width)
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
    query = ("FROM mitigated",) if config.mitigate else ("--name", "precision_at_depth")
    next_step("memscan", "sql", config.run, *query)


def _print_attacks(attacks: "AttackOutcome", width: int) -> None:
    show(f"with an adversary, of {attacks.attacked:,} captions with a training image:")
    for verdict, count in attacks.verdicts.items():
        show(f"{verdict:{width}}{count:6,}")
    by_kind = ", ".join(f"{count:,} by {_STARTS[kind]}" for kind, count in attacks.kinds.items())
    show(
        f"copies only under attack: {attacks.only_under_attack:,}"
        f"{f' ({by_kind})' if by_kind else ''}"
    )


if __name__ == "__main__":
    sys.exit(main())
