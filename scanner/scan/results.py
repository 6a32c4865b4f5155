"""What a scan leaves: a sealed run, and what its user should know about it."""

from dataclasses import dataclass
from typing import Any

from scanner.run import Run
from scanner.run.summary import joined_skipped
from scanner.scan.config import ScanConfig


@dataclass(frozen=True)
class ScanResult:
    """A sealed run: its manifest, the number of rejects by reason, the files skipped
    (:meth:`~scanner.storage.Skipped.to_json`), and complaints for the user."""

    run: str
    manifest: dict[str, Any]
    rejects: dict[str, int]
    skipped: dict[str, Any]
    complaints: tuple[str, ...]

    @property
    def is_improvable(self) -> bool:
        """Whether rerunning the command can add scores: slices are quarantined or not scanned.

        Rejected rows, captions and files are part of the frozen plan or of commits, so a rerun
        neither reads nor scores them again.
        """
        counts = self.manifest["counts"]
        return bool(counts["quarantined"] or counts.get("not_scanned"))


def result_of(run: Run, manifest: dict[str, Any], config: ScanConfig) -> ScanResult:
    """Return the result of a sealed run, with complaints for the user."""
    counts = manifest["counts"]
    complaints = []
    if left := counts.get("not_scanned"):
        complaints.append(
            f"{left:,} of {counts['captions']:,} captions are not scanned; rerun with a larger "
            "--budget-hours, or without it, to resume"
        )
    if counts["quarantined"]:
        complaints.append(
            f"{counts['quarantined']:,} captions in {len(manifest['quarantined'])} quarantined "
            f"slices have no scores; see {config.out}/quarantine, then rerun the same command"
        )
    if counts["rejected_files"]:
        complaints.append(
            f"input files could not be read completely: {counts['rejected_files']}; reasons: "
            f'memscan sql {config.out} "SELECT source, reason FROM rejects"'
        )
    # What img2dataset could not download was never in the training set.
    missing = counts.get("not_downloaded", 0)
    pairs = counts.get("pairs", counts["rows"])
    rejected = "rows" if pairs == counts["rows"] else "captions of rows"
    for noun, number, total in (
        (rejected, counts["rejects"] - missing, pairs - missing),
        ("captions", counts["scan_rejects"], counts["captions"]),
    ):
        if number > config.max_reject_fraction * total:
            complaints.append(
                f"{number:,} of {total:,} {noun} were rejected; reasons: "
                f'memscan sql {config.out} "SELECT reason, count(*) FROM rejects GROUP BY ALL"'
            )
    skipped = joined_skipped(run.summaries())
    return ScanResult(config.out, manifest, manifest["reject_reasons"], skipped, tuple(complaints))
