"""The model of a scan that names none: the default, or that of the run whose captions it takes.

Light to import: a finished run is to be seen before the libraries load.
"""

import logging
from dataclasses import replace
from typing import Any

from scanner.errors import UserError
from scanner.run import Run
from scanner.scan.config import MODEL, ScanConfig
from scanner.scan.options import DEFAULT_MODEL

OWN = ("revision", *MODEL)
log = logging.getLogger("memscan.scan")


def with_model(config: ScanConfig) -> ScanConfig:
    """Return the options with a model: as they are if they name one.

    With ``captions_from``, the model of that run, and what changes it (revision, configuration,
    LoRA and its scale), each of which an option of its own replaces.
    """
    if config.model:
        return config
    if not config.captions_from:
        return replace(config, model=DEFAULT_MODEL)
    own = _model_of(config.captions_from)
    refuse_urls(own, config.captions_from)
    taken = {name: own[name] for name in ("revision", "model_config") if not getattr(config, name)}
    if not config.lora:
        taken["lora"] = own["lora"]
        if config.lora_scale == ScanConfig.lora_scale:
            taken["lora_scale"] = own["lora_scale"]
    return replace(config, model=own["name"], **taken)


def log_inherited(given: ScanConfig, config: ScanConfig) -> None:
    """Log the model that :func:`with_model` has taken from an earlier run, if it has."""
    if config.captions_from and not given.model:
        lora = f", LoRA {config.lora} times {config.lora_scale:g}" if config.lora else ""
        log.info(
            f"model {config.model}{lora}: that of {config.captions_from} (another one by --model)"
        )


def refuse_other_weights(given: ScanConfig, weights: str) -> None:
    """Raise UserError where the model that a scan takes from an earlier run has changed since.

    ``given``: the options as the user gave them; ``weights``: the hash of what was loaded.
    """
    changed = any(getattr(given, name) != getattr(ScanConfig, name) for name in ("model", *OWN))
    if changed or not given.captions_from:
        return
    own = _model_of(given.captions_from)
    if own["weights"] != weights:
        raise UserError(
            f"model: {own['name']}: its weights are not those that {given.captions_from} was "
            "scanned with (or an earlier version of memscan hashed them); name the model to score "
            "with by --model"
        )


def refuse_urls(model: dict[str, Any], run: str, confirmed: str | None = None) -> None:
    """Raise UserError for a run's model that is, or takes a part from, a URL: what a run names is
    not fetched, unless the user named it. ``confirmed``: the URL that the user named."""
    names = (model["name"], model["model_config"], model["lora"])
    urls = [url for url in names if "://" in (url or "") and url != confirmed]
    if urls:
        raise UserError(
            f"{run}: its model is at {urls[0]}, and what a run names is not fetched; if you trust "
            f"that place, name the model yourself, by --model {model['name']}"
        )


def _model_of(url: str) -> dict[str, Any]:
    record = Run.existing(url).record()
    assert record is not None, "a run that exists"
    # Earlier versions recorded the options alone.
    return {**{name: record["asked"][name] for name in MODEL}, **record["model"]}
