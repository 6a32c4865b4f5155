"""What a scan's options come to on this machine, and what run.json keeps of them."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch

from scanner.cluster import Resources, joins_cluster, nodes, start_ray
from scanner.models import ModelFiles, canonical, find_model, load_model, load_tokenizer
from scanner.models.loading import choose_device, choose_dtype
from scanner.scan.config import ScanConfig
from scanner.scan.work import ScanWork
from scanner.scoring import Scorer
from scanner.storage import Store, full_url

LIBRARIES = ("memorization-scanner", "torch", "diffusers", "transformers", "ray", "pyarrow")
SLICE_CAPTIONS = {"cpu": 512, "cuda": 4096}
SLICES_PER_ACTOR = 4
MODEL = ("model_config", "lora", "lora_scale")
SCORING = ("profile", "signals", "seeds", "steps", "guidance", "height", "width")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """What the options come to on this machine."""

    config: ScanConfig
    files: ModelFiles
    scorer: Scorer
    resources: Resources

    def work(self, store: Store) -> ScanWork:
        config = self.config
        return ScanWork(
            store=store,
            model=config.model,
            revision=self.files.revision,
            model_options=_model_options(config),
            weights=self.scorer.model.weights,
            dtype=config.dtype,
            device=config.device,
            scoring=_scoring(config),
            threads=self.resources.threads,
        )

    @property
    def make_canonical(self) -> Callable[[], Callable[[str], str]]:
        """Makes the model's normalisation of a caption, in whatever process calls it."""
        config = self.config
        return partial(_load_canonical, config.model, self.files.revision, _model_options(config))

    def slice_rows(self, captions: int) -> int:
        if self.config.slice_captions:
            return self.config.slice_captions
        spread = -(-captions // (SLICES_PER_ACTOR * self.resources.count()))
        return max(1, min(SLICE_CAPTIONS[self.config.device], spread))


def prepare(config: ScanConfig, say: Say, on: str | None = None) -> Setting:
    """Resolve what was left to default: device, precision, model revision, actors.

    ``on``: the device that this process loads the model on, its cpu by default.
    """
    config = replace(
        config,
        model=from_anywhere(config.model),
        model_config=config.model_config and from_anywhere(config.model_config),
        lora=config.lora and from_anywhere(config.lora),
    )
    files = find_model(config.model, config.revision, **_model_options(config))
    start_ray_if_joined(config.address)
    device, dtype, resources = choose_resources(config)
    config = replace(config, device=device, dtype=dtype)
    # The driver only describes the model; the devices are for the actors.
    model = load_model(files, dtype=dtype, device=on or "cpu")
    scorer = Scorer(model, **_scoring(config))
    actors = resources.count()
    chosen = f"signals {', '.join(config.signals)}" if config.signals else config.profile
    lora = f" with LoRA {config.lora} times {config.lora_scale:g}" if config.lora else ""
    say(
        f"model {config.model}{lora} ({files.pipeline}, {dtype} on {device}), {chosen}, "
        f"{scorer.seeds} seed{'s' * (scorer.seeds > 1)}, {actors} actor{'s' * (actors > 1)}"
    )
    return Setting(config, files, scorer, resources)


def _load_canonical(
    model: str, revision: str | None, options: dict[str, Any]
) -> Callable[[str], str]:
    return partial(canonical, load_tokenizer(find_model(model, revision, **options)))


def start_ray_if_joined(address: str | None) -> None:
    """A running cluster's resources decide; a local Ray starts only when there is work."""
    if joins_cluster(address):
        start_ray(address)


class Asked(Protocol):
    """The options of a command whose actors compute with a model."""

    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def actors(self) -> int | None: ...
    @property
    def gpus_per_actor(self) -> float: ...
    @property
    def cpus_per_actor(self) -> float | None: ...
    @property
    def address(self) -> str | None: ...


def choose_resources(config: Asked) -> tuple[str, str, Resources]:
    """Device, precision, and the actors with their shares: of the cluster that is joined, else of
    this machine."""
    device = config.device
    if device == "auto" and joins_cluster(config.address):
        device = "cuda" if any(node.get("GPU") for node in nodes()) else "cpu"
    device = choose_device(device) if device == "auto" else device
    return device, choose_dtype(config.dtype, device), _resources(config, device)


def _resources(config: Asked, device: str) -> Resources:
    gpus = 0.0 if device == "cpu" else config.gpus_per_actor
    if joins_cluster(config.address):
        cpus = config.cpus_per_actor or (1.0 if gpus else 2.0)
        return Resources(config.actors, cpus, gpus)
    cores = os.cpu_count() or 1
    by_device = int(torch.cuda.device_count() / gpus) if gpus else cores // 2
    actors = config.actors or max(1, by_device)
    return Resources(actors, config.cpus_per_actor or max(cores / actors, 0.01), gpus)


def _model_options(config: ScanConfig) -> dict[str, Any]:
    """What changes the model beside its name and revision."""
    return {name: getattr(config, name) for name in MODEL}


def from_anywhere(name: str) -> str:
    """A local path made absolute, since actors work in another directory; other names as is."""
    return full_url(name) if name != "testbed" and Path(name).expanduser().exists() else name


def _scoring(config: ScanConfig) -> dict[str, Any]:
    """The options of the scorer."""
    return {name: getattr(config, name) for name in (*SCORING, "batch_size")}


def what_is_scanned(config: ScanConfig) -> dict[str, Any]:
    return {
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


def asked_of(config: ScanConfig) -> dict[str, Any]:
    """The options that can change a score, as they were given."""
    names = ("model", "revision", *MODEL, "dtype", *SCORING)
    asked = {name: getattr(config, name) for name in names}
    return asked | {"signals": list(config.signals) if config.signals else None}


def record_of(setting: Setting, asked: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """run.json."""
    fingerprint = setting.scorer.fingerprint
    text = json.dumps(fingerprint, sort_keys=True)
    return {
        "inputs": wanted,
        "asked": asked,
        "model": {
            "name": setting.files.name,
            "revision": setting.files.revision,
            "pipeline": setting.files.pipeline,
            "weights": setting.scorer.model.weights,
        },
        "fingerprint": {"id": hashlib.sha256(text.encode()).hexdigest()[:16], **fingerprint},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
