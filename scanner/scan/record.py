"""What run.json keeps of a scan's options, and the model that a scan takes from an earlier run.

Light to import: whether a run is finished is decided before the libraries load.
"""

import hashlib
import json
import logging
import platform
import time
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from scanner.errors import UserError
from scanner.models.spec import DEFAULT_MODEL, ModelSpec
from scanner.run import Run
from scanner.run.directory import recorded_roots
from scanner.scan.config import ScanConfig
from scanner.storage import Skipped, full_url

if TYPE_CHECKING:
    from scanner.scan.preparation import PreparedScan

log = logging.getLogger("memscan.scan")

LIBRARIES = ("memorization-scanner", "torch", "diffusers", "transformers", "ray", "pyarrow")


def inputs_record(config: ScanConfig) -> dict[str, Any]:
    """Return the part of run.json that says what is scanned."""
    record = {
        "captions": [full_url(url) for url in config.captions],
        "reference": [full_url(url) for url in config.reference],
        "caption_column": config.caption_column,
        "key_column": config.key_column,
        "image_key": config.image_key,
        "keep": config.keep if config.keep is None else list(config.keep),
        "limit": config.limit,
        "captions_from": config.captions_from and full_url(config.captions_from),
        "where": config.where,
    }
    # Absent in runs that are older than the option.
    return record if config.quoting == "auto" else record | {"quoting": config.quoting}


def options_record(config: ScanConfig, model: ModelSpec) -> dict[str, Any]:
    """Return the options that can change a score, as they were given.

    ``model``: the one that the scan takes, see :func:`choose_model`.
    """
    return {"model": model.to_json(), "scoring": config.scoring_spec.to_json()}


def run_record(
    prepared: "PreparedScan",
    options: dict[str, Any],
    inputs: dict[str, Any],
    skipped: Skipped | None = None,
) -> dict[str, Any]:
    """Return run.json; ``skipped``: files that the first plan does not read."""
    fingerprint = prepared.scorer.fingerprint
    text = json.dumps(fingerprint, sort_keys=True)
    # With absolute local paths, for commands that take the model from here.
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
    """Return where the training set is stored: commands read its files only there."""
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
        log.info(
            f"model {model.name}{lora}: that of {config.captions_from} (another one by --model)"
        )


def refuse_other_weights(config: ScanConfig, weights: str) -> None:
    """Raise UserError if a model taken from an earlier run has changed since.

    ``weights``: the hash of the loaded model.
    """
    is_inherited = replace(config.model_spec, dtype="auto") == ModelSpec("")
    if not config.captions_from or not is_inherited:
        return
    record = Run.existing(config.captions_from).record() or {}
    name, recorded = record["model"]["name"], record["model"]["weights"]
    if recorded != weights:
        raise UserError(
            f"model: {name}: its weights are not those that {config.captions_from} was "
            "scanned with (or an earlier version of memscan hashed them); name the model to score "
            "with by --model"
        )


def _recorded_model(url: str) -> ModelSpec:
    record = Run.existing(url).record()
    assert record is not None, "a run that exists"
    return ModelSpec.of_run(record)
