"""Replicate an evaluation, from the prompt lists to the page and the calibrations."""

from scanner.calibration import evaluation_record
from scanner.calibration.file import encode as encode_calibration
from scanner.replication.config import ReplicateConfig
from scanner.replication.measuring import Measurement, measure
from scanner.replication.page import render_page
from scanner.replication.results import PAGE, RECORD, ReplicationResults, gather, results_record
from scanner.replication.running import Scanned, run_scans
from scanner.run.progress import Watch
from scanner.run.records import encode


def replicate(config: ReplicateConfig, progress: Watch, command: str) -> ReplicationResults:
    """Fetch, scan, measure, and write the page, the calibrations and the results as JSON.

    Resumes an earlier call on the same directory. ``command``: shown on the page as what created
    it. Raises UserError if a list or the weights are not those that are pinned.
    """
    scanned = run_scans(config, progress)
    measurements = measure(scanned)
    results = gather(config, scanned, measurements, _calibrations(scanned, measurements))
    store = scanned.store
    store.write(PAGE, render_page(results, command).encode())
    store.write(RECORD, encode(results_record(results)))
    return results


def _calibrations(scanned: Scanned, measurements: list[Measurement]) -> dict[str, str]:
    """Write the calibration of each profile at the side that it scans at by default; return the
    files by profile."""
    written = {}
    for one in measurements:
        if one.calibration and one.evaluation and one.scan.has_default_side:
            profile = one.scan.spec.profile
            name = f"calibration-{scanned.config.model}-{profile}.json"
            record = evaluation_record(one.evaluation)
            scanned.store.write(name, encode_calibration(one.calibration, record))
            written[profile] = scanned.store.location(name)
    return written
