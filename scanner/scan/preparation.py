"""Resolve a scan's options on this machine: device, precision, model revision, actors."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from scanner.cluster import InProcess, Resources, may_run_in_process
from scanner.cluster.connection.placement import choose_resources
from scanner.cores import usable_cores
from scanner.models import (
    ModelFiles,
    ModelSpec,
    canonical,
    find_model,
    load_model,
)
from scanner.models.loading import META, choose_dtype, refuse_unloadable
from scanner.plurals import pluralize
from scanner.run import Slice
from scanner.scan.config import ScanConfig
from scanner.scan.work import ScanWork
from scanner.scoring import Scorer
from scanner.scoring.cost import Cost, cost
from scanner.storage import Store

log = logging.getLogger("memscan.scan")

# Bounds of a slice: captions, and GFLOP, by device: a minute of a slow CPU, ten seconds of a GPU.
# Faster devices queue more slices (RetryLimits.queue_seconds).
SLICE_CAPTIONS = {"cpu": 512, "cuda": 4096}
SLICE_GFLOP = {"cpu": 6_000, "cuda": 1_000_000}
# A slice of so few captions is not made smaller without need, since counting takes a second.
FEW_CAPTIONS = 8
SLICES_PER_ACTOR = 4
# Starting a local Ray and an actor that loads the model takes about 8 seconds, which a pool saves
# only on more work than this. (In SD 1.4: two minutes on 8 cores, two seconds on an A100.)
IN_PROCESS_FORWARDS = 256
_COSTS: dict[str, Cost] = {}


@dataclass(frozen=True)
class PreparedScan:
    """A scan's options, resolved on this machine.

    ``files``: the model with pinned revision, absolute paths and the actors' precision;
    ``scorer``: of the model on the meta device, to describe scores; ``device``: the actors'.
    """

    config: ScanConfig
    files: ModelFiles
    scorer: Scorer
    device: str
    resources: Resources

    def work(self, store: Store) -> ScanWork:
        return ScanWork(
            store=store,
            model=self.files.spec,
            weights=self.scorer.model.weights,
            device=self.device,
            threads=self.resources.threads,
            scoring=self.config.scoring_spec,
            batch_size=self.config.batch_size,
            gpu_share=self.resources.gpus,
            text_encoders=self.config.text_encoders,
            denoiser=self.config.denoiser,
        )

    @property
    def memory_share(self) -> float:
        """The share of a device's memory, or of this machine's, that each actor has."""
        return self.resources.gpus or self.resources.threads / usable_cores()

    def in_process(self, store: Store, most: int = IN_PROCESS_FORWARDS) -> InProcess[Slice] | None:
        """Return how slices are scored in this process, which then loads the model itself.

        Small is at most ``most`` forwards of the denoiser. None if a cluster, several actors or
        several GPUs are to work.
        """
        config = self.config
        is_one_device = self.device == "cpu" or self.resources.actors == 1
        if not (is_one_device and may_run_in_process(config.actors, config.address)):
            return None
        forwards = self.scorer.schedule.forwards * self.scorer.seeds
        work = replace(self.work(store), threads=usable_cores())
        return InProcess(
            is_small=lambda slices: forwards * sum(item.rows for item in slices) <= most,
            make_work=partial(work.of_files, self.files),
        )

    @property
    def make_canonical(self) -> Callable[[], Callable[[str], str]]:
        """A picklable function that returns the model's normalization of captions.

        It carries the tokenizer: planning needs no file of the model where it runs.
        """
        return partial(partial, canonical, self.scorer.model.canonical_tokenizer)

    @property
    def cost(self) -> Cost:
        """What a caption costs on the actors' device.

        Counting takes a second or more, so it is done once per process for equal scores.
        """
        scorer, device = self.scorer, self.device
        if not self.files.has_weights:
            return cost(scorer, device=device)
        key = json.dumps([device, scorer.fingerprint], sort_keys=True)
        if key not in _COSTS:
            _COSTS[key] = cost(scorer, device=device)
        return _COSTS[key]

    def slice_rows(self, captions: int) -> int:
        """Return the captions per slice for a number of captions to score."""
        if self.config.slice_captions:
            return self.config.slice_captions
        share = -(-captions // (SLICES_PER_ACTOR * self.resources.count()))
        rows = max(1, min(SLICE_CAPTIONS[self.device], share))
        if rows <= FEW_CAPTIONS:
            return rows
        gflop = self.cost.per_caption + self.cost.text_encoder
        return max(1, min(rows, int(SLICE_GFLOP[self.device] / gflop)))


def prepare(
    config: ScanConfig, model: ModelSpec | None = None, downloads_weights: bool = True
) -> PreparedScan:
    """Find the model, and choose device, precision and actors.

    This process only describes the model, on the meta device: the weights are checked and hashed
    here, and loaded by the actors. ``model``: instead of that of the options.
    ``downloads_weights``: see :func:`find_model`; a model without weights has no hash.
    """
    spec = (model or config.model_spec).resolved()
    files = find_model(spec, downloads_weights)
    device, resources = choose_resources(config, config.device)
    files = replace(files, spec=replace(files.spec, dtype=choose_dtype(spec.dtype, device)))
    if downloads_weights:
        refuse_unloadable(files)
    weights = files.weights_hash() if files.has_weights else None
    described = load_model(files, device=META, weights=weights)
    scorer = Scorer.from_spec(described, config.scoring_spec, batch_size=config.batch_size)
    _log(config, files, scorer, device, resources.count())
    return PreparedScan(config, files, scorer, device, resources)


def _log(config: ScanConfig, files: ModelFiles, scorer: Scorer, device: str, actors: int) -> None:
    spec = files.spec
    signals = f"signals {', '.join(config.signals)}" if config.signals else config.profile
    lora = f" with LoRA {spec.lora} times {spec.lora_scale:g}" if spec.lora else ""
    log.info(
        f"model {spec.name}{lora} ({files.pipeline}, {spec.dtype} on {device}), {signals}, "
        f"{pluralize(scorer.seeds, 'seed')}, {pluralize(actors, 'actor')}"
    )
