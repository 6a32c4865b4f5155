"""What a scan's options come to on this machine."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from scanner.cluster import InProcess, Resources, may_run_in_process
from scanner.cores import usable_cores
from scanner.models import ModelFiles, canonical, find_model, load_model, load_tokenizer
from scanner.run import Slice
from scanner.scan.config import MODEL, SCORING, ScanConfig
from scanner.scan.resources import choose_resources
from scanner.scan.work import ScanWork
from scanner.scoring import Scorer
from scanner.storage import Store, full_url, local_path

SLICE_CAPTIONS = {"cpu": 512, "cuda": 4096}
SLICES_PER_ACTOR = 4
# A local Ray and an actor that loads the model take about 8 seconds; few devices gain that by a
# pool on less work. (In SD 1.4: two minutes on 8 cores, two seconds on an A100.)
IN_PROCESS_FORWARDS = 256

log = logging.getLogger("memscan.scan")


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

    def in_process(self, store: Store, most: int = IN_PROCESS_FORWARDS) -> InProcess[Slice] | None:
        """Return how slices are scored in this process, with the model that it has loaded.

        Small is at most ``most`` forwards of the U-Net. None where a cluster, several actors or
        several GPUs are to work.
        """
        config = self.config
        is_one_device = config.device == "cpu" or self.resources.actors == 1
        if not (is_one_device and may_run_in_process(config.actors, config.address)):
            return None
        forwards = self.scorer.schedule.forwards * self.scorer.seeds
        work = replace(self.work(store), threads=usable_cores())
        return InProcess(
            is_small=lambda slices: forwards * sum(item.rows for item in slices) <= most,
            make_work=partial(work.with_model, self.scorer.model),
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


def prepare(config: ScanConfig, on: str | None = None) -> Setting:
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
    device, dtype, resources = choose_resources(config, config.device, config.dtype)
    config = replace(config, device=device, dtype=dtype)
    # The driver only describes the model; the devices are for the actors.
    model = load_model(files, dtype=dtype, device=on or "cpu")
    scorer = Scorer(model, **_scoring(config))
    actors = resources.count()
    chosen = f"signals {', '.join(config.signals)}" if config.signals else config.profile
    lora = f" with LoRA {config.lora} times {config.lora_scale:g}" if config.lora else ""
    log.info(
        f"model {config.model}{lora} ({files.pipeline}, {dtype} on {device}), {chosen}, "
        f"{scorer.seeds} seed{'s' * (scorer.seeds > 1)}, {actors} actor{'s' * (actors > 1)}"
    )
    return Setting(config, files, scorer, resources)


def _load_canonical(
    model: str, revision: str | None, options: dict[str, Any]
) -> Callable[[str], str]:
    return partial(canonical, load_tokenizer(find_model(model, revision, **options)))


def _model_options(config: ScanConfig) -> dict[str, Any]:
    """What changes the model beside its name and revision."""
    return {name: getattr(config, name) for name in MODEL}


def from_anywhere(name: str) -> str:
    """A local path made absolute, since actors work in another directory; other names as is."""
    return full_url(name) if name != "testbed" and local_path(name).exists() else name


def _scoring(config: ScanConfig) -> dict[str, Any]:
    """The options of the scorer."""
    return {name: getattr(config, name) for name in (*SCORING, "batch_size")}
