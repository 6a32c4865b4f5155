"""What run.json keeps of a scan's options, and of what they came to."""

import hashlib
import json
import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from scanner.run import Run
from scanner.run.directory import recorded_roots
from scanner.scan.config import MODEL, SCORING, ScanConfig
from scanner.storage import Skipped, full_url

if TYPE_CHECKING:
    from scanner.scan.setting import Setting

LIBRARIES = ("memorization-scanner", "torch", "diffusers", "transformers", "ray", "pyarrow")


def what_is_scanned(config: ScanConfig) -> dict[str, Any]:
    wanted = {
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
    # Runs that are older than the option have none.
    return wanted if config.quoting == "auto" else wanted | {"quoting": config.quoting}


def asked_of(config: ScanConfig) -> dict[str, Any]:
    """The options that can change a score, as they were given."""
    names = ("model", "revision", *MODEL, "dtype", *SCORING)
    asked = {name: getattr(config, name) for name in names}
    return asked | {"signals": list(config.signals) if config.signals else None}


def record_of(
    setting: "Setting",
    asked: dict[str, Any],
    wanted: dict[str, Any],
    skipped: Skipped | None = None,
) -> dict[str, Any]:
    """run.json; ``skipped``: files that the first plan does not read."""
    fingerprint = setting.scorer.fingerprint
    text = json.dumps(fingerprint, sort_keys=True)
    return {
        "inputs": wanted,
        "input_roots": _input_roots(setting.config, wanted),
        "skipped": (skipped or Skipped()).to_json(),
        "asked": asked,
        "model": {
            "name": setting.files.name,
            "revision": setting.files.revision,
            "pipeline": setting.files.pipeline,
            "weights": setting.scorer.model.weights,
            # With local paths made absolute, for who takes the model from here.
            **{name: getattr(setting.config, name) for name in MODEL},
        },
        "fingerprint": {"id": hashlib.sha256(text.encode()).hexdigest()[:16], **fingerprint},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _input_roots(config: ScanConfig, wanted: dict[str, Any]) -> list[str]:
    """Where the training set lies: commands read its files there alone."""
    if not config.captions_from:
        return wanted.get("captions", [])
    record = Run.existing(config.captions_from).record()
    return recorded_roots(record) if record else []
