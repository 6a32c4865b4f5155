"""Run a replication: fetch, verify, scan. Every scan is an ordinary run, which resumes."""

import logging
from dataclasses import dataclass

from scanner.models import DiffusionModel, ModelFiles, ModelSpec, find_model, load_model
from scanner.models.loading import META
from scanner.replication.config import ReplicateConfig
from scanner.replication.ground_truth import FILE, GroundTruth, ground_truth
from scanner.replication.lock import lock_model, read_lock
from scanner.replication.planned_scans import PlannedScan, plan_scans
from scanner.run.progress import Watch
from scanner.scan.config import ScanConfig
from scanner.scan.scan import scan
from scanner.storage import Store

log = logging.getLogger("memscan.replication")


@dataclass(frozen=True)
class Scanned:
    """What a replication measures on: its prompts, the model, and the finished scans.

    ``outline``: the model on the meta device, to count operations. ``complaints``: of the scans.
    """

    config: ReplicateConfig
    store: Store
    truth: GroundTruth
    files: ModelFiles
    outline: DiffusionModel
    scans: list[PlannedScan]
    complaints: list[str]


def run_scans(config: ReplicateConfig, progress: Watch) -> Scanned:
    """Fetch what the replication needs, and run its scans; resumes an earlier call.

    Raises UserError if a list or the weights are not those that are pinned.
    """
    store = Store(config.out, single_writer=True)
    truth = ground_truth(config, store)
    files = pinned_model(config, store)
    outline = load_model(files, device=META)
    scans = plan_scans(config, outline)
    complaints = []
    for number, one in enumerate(scans, 1):
        log.info(f"scan {number} of {len(scans)}: {one.name}")
        result = scan(_scan_config(config, store, files.spec.revision, one), progress)
        complaints += [f"{one.name}: {line}" for line in result.complaints]
    return Scanned(config, store, truth, files, outline, scans, complaints)


def pinned_model(config: ReplicateConfig, store: Store) -> ModelFiles:
    """Return the model's files, at the revision of the lock if there is one."""
    name = config.weights or config.kit.model
    locked = read_lock(store).model
    revision = config.revision
    if revision is None and locked is not None and locked.name == name:
        revision = locked.revision
    files = find_model(ModelSpec(name, revision, dtype=config.dtype))
    if not config.kit.is_packaged:
        lock_model(store, name, files.spec.revision, files.weights_hash())
    return files


def _scan_config(
    config: ReplicateConfig, store: Store, revision: str | None, planned: PlannedScan
) -> ScanConfig:
    spec = planned.spec
    return ScanConfig(
        captions=(store.location(FILE),),
        caption_column=("caption",),
        key_column="none",
        image_key="none",
        keep=("none",),
        out=store.location(planned.folder),
        model=config.weights or config.kit.model,
        revision=revision,
        dtype=config.dtype,
        device=config.device,
        profile=spec.profile,  # type: ignore[arg-type]
        signals=spec.signals,
        seeds=spec.seeds,
        height=spec.height,
        width=spec.width,
        actors=config.actors,
        gpus_per_actor=config.gpus_per_actor,
        cpus_per_actor=config.cpus_per_actor,
        address=config.address,
        runtime_env=config.runtime_env,
        single_writer=store.is_remote,
    )
