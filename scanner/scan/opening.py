"""Open a scan: check its options, compare them with its run, choose its model and inputs.

Light to import: errors and finished runs show before the libraries load, which takes seconds.
"""

import hashlib
import json
import logging
import platform
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from scanner.errors import UserError
from scanner.models.spec import DEFAULT_MODEL, ModelSpec
from scanner.plurals import pluralize
from scanner.run import Plan, Run
from scanner.run.directory import PURGE_JOURNAL, recorded_roots
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.inputs import Inputs
from scanner.scan.results import ScanResult, result_of
from scanner.storage import Skipped, Store, full_url

if TYPE_CHECKING:
    from scanner.scan.preparation import PreparedScan


@dataclass(frozen=True)
class OpenScan:
    """A scan that is ready to start, or its result if it is finished.

    ``run``: None for a dry run without an output; ``record``: its run.json, if any;
    ``inputs_record``: the inputs for run.json; ``plans``: the run's plans so far; ``inputs``: the
    files that they have not read.
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
        model.check_names()
        log_inherited(config, model)
        return OpenScan(config, model, None, None, inputs, inputs=choose_inputs(config))
    run = Run(Store(config.out, config.single_writer))
    record = run.record()
    if config.extend and not config.dry_run:
        inputs = _original_inputs(config, record, inputs)
    opened = OpenScan(config, model, run, record, inputs)
    if _is_finished(opened):
        return _finished(opened, run, "is finished")
    if record is not None and run.store.exists(PURGE_JOURNAL):
        raise UserError(
            f"{config.out}: memscan purge was interrupted; rerun it first, with any list"
        )
    if record is not None and not config.dry_run:
        run.refuse_others({"inputs": inputs}, record)
    model.check_names()
    log_inherited(config, model)
    plans = tuple(run.plans())
    files = Inputs() if plans and not config.extend else choose_inputs(config, plans)
    opened = replace(opened, plans=plans, inputs=files)
    is_done = config.extend and not files.files and run.is_finished()
    if is_done and not config.repair and not config.dry_run:
        return _finished(opened, run, "has read these files already")
    return opened


def _is_finished(opened: OpenScan) -> bool:
    """Return whether the run has these options and is sealed, with nothing to add or repair."""
    config, run, record = opened.config, opened.run, opened.record
    if config.extend or config.repair or config.dry_run or record is None or run is None:
        return False
    expected = {"inputs": opened.inputs_record, "options": opened.options_record}
    return all(record.get(part) == one for part, one in expected.items()) and run.is_finished()


def _finished(opened: OpenScan, run: Run, what: str) -> OpenScan:
    """Return the scan with the result that the run has. Raises UserError if parts are missing."""
    manifest = run.manifest()
    assert manifest is not None, "a finished run is sealed"
    refuse_missing_parts(opened.config.out, run.store, manifest)
    log.info(f"{opened.config.out} {what}")
    return replace(opened, result=result_of(run, manifest, opened.config))


def refuse_missing_parts(out: str, store: Store, manifest: dict[str, Any]) -> None:
    """Raise UserError if scores of a sealed run are no longer there, by a listing per folder."""
    paths = [part["path"] for part in manifest["scores"]]
    folders = {path.rpartition("/")[0] for path in paths}
    stored = {name for folder in folders for name in store.names(folder)}
    missing = [path for path in paths if path not in stored]
    if missing:
        raise UserError(
            f"{out}: {pluralize(len(missing), 'file')} of scores missing, such as {missing[0]}; "
            "rerun the same command with --repair"
        )


def _original_inputs(
    config: ScanConfig, record: dict[str, Any] | None, inputs: dict[str, Any]
) -> dict[str, Any]:
    """Return the inputs and column names that an extended run was started with."""
    if record is None:
        raise UserError(f"{config.out}: no run here to extend; leave out --extend to start one")
    original = record["inputs"]
    for name, flag in (("captions_from", "--captions-from"), ("limit", "--limit")):
        if original[name]:
            raise UserError(
                f"{config.out}: a run of {flag} cannot be extended; start another without it"
            )
    # The plan records how the added files are read.
    names = ("captions", "reference", "caption_column", "key_column", "image_key", "quoting")
    others = {name: one for name, one in inputs.items() if name not in names}
    return others | {name: original[name] for name in names if name in original}


log = logging.getLogger("memscan.scan")

LIBRARIES = ("memorization-scanner", "torch", "diffusers", "transformers", "ray", "pyarrow")


def inputs_record(config: ScanConfig) -> dict[str, Any]:
    """Return the inputs of a scan for run.json."""
    record = {
        "captions": [full_url(url) for url in config.captions],
        "reference": [full_url(url) for url in config.reference],
        "caption_column": _one_or_list(config.caption_column),
        "key_column": config.key_column,
        "image_key": config.image_key,
        "keep": config.keep if config.keep is None else list(config.keep),
        "limit": config.limit,
        "captions_from": config.captions_from and full_url(config.captions_from),
        "where": config.where,
    }
    return record if config.quoting == "auto" else record | {"quoting": config.quoting}


def _one_or_list(names: tuple[str, ...] | None) -> str | list[str] | None:
    """Return the caption columns as run.json has them: one as text."""
    return list(names) if names and len(names) > 1 else names[0] if names else None


def options_record(config: ScanConfig, model: ModelSpec) -> dict[str, Any]:
    """Return the options that can change a score, as given.

    ``model``: the model of the scan, see :func:`choose_model`.
    """
    return {"model": model.to_json(), "scoring": config.scoring_spec.to_json()}


def run_record(
    prepared: "PreparedScan",
    options: dict[str, Any],
    inputs: dict[str, Any],
    skipped: Skipped | None = None,
) -> dict[str, Any]:
    """Return run.json; ``skipped``: files that the first plan skips."""
    fingerprint = prepared.scorer.fingerprint
    text = json.dumps(fingerprint, sort_keys=True)
    # With absolute local paths, for commands that use the run's model.
    model = prepared.files.spec
    return {
        "inputs": inputs,
        "input_roots": _input_roots(prepared.config, inputs),
        "skipped": (skipped or Skipped()).to_json(),
        "options": options,
        "model": {
            "name": model.name,
            "revision": model.revision,
            "pipeline": prepared.files.pipeline,
            "weights": prepared.scorer.model.weights,
            "model_config": model.config,
            "lora": model.lora,
            "lora_scale": model.lora_scale,
        },
        "fingerprint": {"id": hashlib.sha256(text.encode()).hexdigest()[:16], **fingerprint},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _input_roots(config: ScanConfig, inputs: dict[str, Any]) -> list[str]:
    """Return the paths and URLs of the training set, to which commands are restricted."""
    if not config.captions_from:
        return inputs.get("captions", [])
    record = Run.existing(config.captions_from).record()
    return recorded_roots(record) if record else []


def choose_model(config: ScanConfig) -> ModelSpec:
    """Return the model of --model, else that of --captions-from, else the default one.

    Each of --revision, --model-config, --lora and --lora-scale replaces that part of an earlier
    run's model. Raises UserError if that model is at a URL.
    """
    given = config.model_spec
    if given.name:
        return given
    if not config.captions_from:
        return replace(given, name=DEFAULT_MODEL)
    model = _recorded_model(config.captions_from)
    model.refuse_urls(config.captions_from)
    takes_lora_scale = not given.lora and given.lora_scale == ModelSpec.lora_scale
    return ModelSpec(
        name=model.name,
        revision=given.revision or model.revision,
        config=given.config or model.config,
        lora=given.lora or model.lora,
        lora_scale=model.lora_scale if takes_lora_scale else given.lora_scale,
        dtype=given.dtype,
    )


def log_inherited(config: ScanConfig, model: ModelSpec) -> None:
    """Log the model if :func:`choose_model` has taken it from an earlier run."""
    if config.captions_from and not config.model:
        lora = f", LoRA {model.lora} times {model.lora_scale:g}" if model.lora else ""
        log.info(f"model {model.name}{lora}: from {config.captions_from} (override with --model)")


def refuse_other_weights(config: ScanConfig, weights: str) -> None:
    """Raise UserError if the model of an earlier run has changed since.

    ``weights``: the hash of the loaded model.
    """
    is_inherited = replace(config.model_spec, dtype="auto") == ModelSpec("")
    if not config.captions_from or not is_inherited:
        return
    record = Run.existing(config.captions_from).record() or {}
    name, recorded = record["model"]["name"], record["model"]["weights"]
    if recorded != weights:
        raise UserError(
            f"model: {name}: its weights differ from those that {config.captions_from} was "
            "scanned with; name the model with --model"
        )


def _recorded_model(url: str) -> ModelSpec:
    record = Run.existing(url).record()
    assert record is not None, "a run that exists"
    return ModelSpec.of_run(record)
