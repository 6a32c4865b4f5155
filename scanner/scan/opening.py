"""Open a scan: check its options, open its output, expand its inputs, and see if it is finished.

Light to import: errors and finished runs show before the libraries load, which takes seconds.
"""

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from scanner.errors import UserError
from scanner.models.spec import ModelSpec
from scanner.run import Plan, Run
from scanner.run.status import count_reasons
from scanner.scan.config import ScanConfig
from scanner.scan.plan.inputs import Inputs, choose_inputs
from scanner.scan.record import choose_model, inputs_record, log_inherited, options_record
from scanner.storage import Store

log = logging.getLogger("memscan.scan")


@dataclass(frozen=True)
class ScanResult:
    """A sealed run: its manifest, the number of rejects by reason, the files skipped
    (:meth:`~scanner.storage.Skipped.to_json`), and complaints for the user."""

    run: str
    manifest: dict[str, Any]
    rejects: dict[str, int]
    skipped: dict[str, Any]
    complaints: tuple[str, ...]


@dataclass(frozen=True)
class OpenScan:
    """A scan that is ready to start, or its result if it is finished already.

    ``run``: None for a dry run without an output; ``record``: its run.json, if any;
    ``inputs_record``: what the scan's run.json says of inputs; ``plans``: earlier ones of the run;
    ``inputs``: the files that they have not read.
    """

    config: ScanConfig
    model: ModelSpec
    run: Run | None
    record: dict[str, Any] | None
    inputs_record: dict[str, Any]
    plans: tuple[Plan, ...] = ()
    inputs: Inputs = field(default_factory=Inputs)
    result: ScanResult | None = None

    @property
    def options_record(self) -> dict[str, Any]:
        return options_record(self.config, self.model)


def open_scan(config: ScanConfig) -> OpenScan:
    """Check the options, open the output and expand the inputs.

    Raises UsageError or UserError for options, inputs or an output that cannot be used.
    """
    config.check()
    model = choose_model(config)
    inputs = inputs_record(config)
    if not config.out:
        log_inherited(config, model)
        return OpenScan(config, model, None, None, inputs, inputs=choose_inputs(config))
    run = Run(Store(config.out, config.single_writer))
    record = run.record()
    if config.extend and not config.dry_run:
        inputs = _as_it_began(config, record, inputs)
    opened = OpenScan(config, model, run, record, inputs)
    if _is_finished(opened):
        log.info(f"{config.out} is finished already")
        return replace(opened, result=result_of(run, run.manifest() or {}, config))
    log_inherited(config, model)
    plans = tuple(run.plans())
    files = Inputs() if plans and not config.extend else choose_inputs(config, plans)
    opened = replace(opened, plans=plans, inputs=files)
    is_done = config.extend and not files.files and run.is_finished()
    if is_done and not config.repair and not config.dry_run:
        log.info(f"{config.out} has read these files already")
        return replace(opened, result=result_of(run, run.manifest() or {}, config))
    return opened


def _is_finished(opened: OpenScan) -> bool:
    """Whether the run has these options and is sealed, and nothing is to be added or repaired."""
    config, run, record = opened.config, opened.run, opened.record
    if config.extend or config.repair or config.dry_run or record is None or run is None:
        return False
    expected = {"inputs": opened.inputs_record, "options": opened.options_record}
    return all(record.get(part) == one for part, one in expected.items()) and run.is_finished()


def _as_it_began(
    config: ScanConfig, record: dict[str, Any] | None, inputs: dict[str, Any]
) -> dict[str, Any]:
    """Return the inputs that an extended run was started with, and how their columns are called;
    its plan has the others."""
    if record is None:
        raise UserError(f"{config.out}: no run here to extend; leave out --extend to start one")
    began = record["inputs"]
    for name, flag in (("captions_from", "--captions-from"), ("limit", "--limit")):
        if began[name]:
            raise UserError(
                f"{config.out}: a run of {flag} cannot be extended; start another without it"
            )
    # How the added files are read is recorded in their plan.
    names = ("captions", "reference", "caption_column", "key_column", "image_key", "quoting")
    others = {name: one for name, one in inputs.items() if name not in names}
    return others | {name: began[name] for name in names if name in began}


def result_of(run: Run, manifest: dict[str, Any], config: ScanConfig) -> ScanResult:
    """Return the result of a sealed run, with complaints for the user."""
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
    for noun, number, total in (
        ("rows", counts["rejects"] - missing, counts["rows"] - missing),
        ("captions", counts["scan_rejects"], counts["captions"]),
    ):
        if number > config.max_reject_fraction * total:
            complaints.append(
                f"{number:,} of {total:,} {noun} were rejected; why: "
                f'memscan sql {config.out} "SELECT reason, count(*) FROM rejects GROUP BY ALL"'
            )
    rejects = count_reasons(run.store, manifest["rejects"])
    plan = run.plan()
    skipped = plan.skipped if plan else {}
    return ScanResult(config.out, manifest, rejects, skipped, tuple(complaints))
