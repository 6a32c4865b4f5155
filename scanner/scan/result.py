"""What a scan comes to, and whether an earlier call has come to it already.

Light to import: a finished run is to be seen before the libraries load.
"""

import logging
from dataclasses import dataclass
from typing import Any

from scanner.run import Run
from scanner.run.status import count_reasons
from scanner.scan.config import ScanConfig
from scanner.scan.inherited import with_model
from scanner.scan.record import asked_of, what_is_scanned
from scanner.storage import Store

log = logging.getLogger("memscan.scan")


@dataclass(frozen=True)
class ScanResult:
    """A sealed run: its manifest, how many rejects there are by reason, the files skipped
    (:meth:`~scanner.storage.Skipped.to_json`), and what to complain of."""

    run: str
    manifest: dict[str, Any]
    rejects: dict[str, int]
    skipped: dict[str, Any]
    complaints: tuple[str, ...]


def finished(config: ScanConfig) -> ScanResult | None:
    """The result, where a run with these options is sealed and nothing is to be added or mended."""
    if not config.out or config.extend or config.repair or config.dry_run:
        return None
    config = with_model(config)
    run = Run(Store(config.out, config.single_writer))
    there = run.record()
    wanted = {"inputs": what_is_scanned(config), "asked": asked_of(config)}
    if there is None or any(there.get(name) != one for name, one in wanted.items()):
        return None
    if not run.is_finished():
        return None
    log.info(f"{config.out} is finished already")
    return result_of(run, run.manifest() or {}, config)


def result_of(run: Run, manifest: dict[str, Any], config: ScanConfig) -> ScanResult:
    """The result of a sealed run, with what it has to complain of."""
    counts = manifest["counts"]
    complaints = []
    if counts["quarantined"]:
        complaints.append(
            f"{counts['quarantined']:,} captions in {len(manifest['quarantined'])} quarantined "
            f"slices have no scores; see {config.out}/quarantine, then run the same command again"
        )
    if counts["rejected_files"]:
        complaints.append(
            f"input files could not be read to the end: {counts['rejected_files']}; which and why: "
            f'memscan sql {config.out} "SELECT source, reason FROM rejects"'
        )
    # What img2dataset could not download was never in the training set.
    missing = counts.get("not_downloaded", 0)
    for of, number, all_of in (
        ("rows", counts["rejects"] - missing, counts["rows"] - missing),
        ("captions", counts["scan_rejects"], counts["captions"]),
    ):
        if number > config.max_reject_fraction * all_of:
            complaints.append(
                f"{number:,} of {all_of:,} {of} were rejected; why: "
                f'memscan sql {config.out} "SELECT reason, count(*) FROM rejects GROUP BY ALL"'
            )
    rejects = count_reasons(run.store, manifest["rejects"])
    plan = run.plan()
    skipped = plan.skipped if plan else {}
    return ScanResult(config.out, manifest, rejects, skipped, tuple(complaints))
