"""Index the images of a training set: plan, embed on a pool, and seal."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from scanner.cluster import (
    Committed,
    Event,
    Execution,
    InProcess,
    Outcome,
    Resources,
    Started,
    Tick,
    execute,
    may_run_in_process,
)
from scanner.cluster.connection.placement import choose_resources
from scanner.errors import UserError
from scanner.evidence.embedding_file import embedding_of
from scanner.evidence.event_log import log_event
from scanner.evidence.index.config import IndexConfig
from scanner.evidence.index.embedders import Embedder, make_embedder
from scanner.evidence.index.embedding_work import EmbedWork
from scanner.evidence.index.index_files import (
    FORMAT,
    EmbeddingRecord,
    IndexRecord,
    Manifest,
    manifest_of,
    seal,
)
from scanner.evidence.index.inputs import IndexInputs, open_inputs
from scanner.evidence.index.plan import (
    PLAN,
    REMEDY,
    ImageBatch,
    IndexPlan,
    ItemSizes,
    digest,
    read_plan,
    write_lists,
)
from scanner.evidence.index.shards import LARGEST_DIMENSION
from scanner.run import Commits
from scanner.run.directory import PURGE_JOURNAL
from scanner.storage import Store

log = logging.getLogger("memscan.index")

# Up to this many images are indexed in this process, unless actors are named.
IN_PROCESS_IMAGES = 20_000
# A learned embedding on a CPU takes up to a second per image; less is lost when a process dies.
SLOW_SIZES = ItemSizes(1 << 11, 1 << 13)
# Items in one actor at a time; each holds its vectors until they are written.
IN_FLIGHT = 2


@dataclass
class Indexing:
    """Progress of embedding; ``seconds`` since this call started its first image."""

    images: int
    done: int = 0
    images_per_second: float = 0.0


@dataclass(frozen=True)
class IndexResult:
    """A finished index, and its problems. ``images_per_second``: of this call; 0 if it embedded
    nothing."""

    out: str
    record: IndexRecord
    manifest: Manifest
    images_per_second: float
    complaints: tuple[str, ...]


def index_images(
    config: IndexConfig, progress: Callable[[Indexing], None], sizes: ItemSizes | None = None
) -> IndexResult:
    """Index the images of a run's training set, or of input files.

    ``sizes``: of the items, by default as fits the embedding and the device. The same command
    resumes an earlier call. Raises UserError for what the user has to fix.
    """
    config.check()
    file = embedding_of(config.embedding, config.embedding_sha256)
    embedder = make_embedder(file)
    dimension = embedder.dimension()
    if not 1 <= dimension <= LARGEST_DIMENSION:
        raise UserError(
            f"--embedding {config.embedding}: vectors of {dimension} numbers; an index takes up to "
            f"{LARGEST_DIMENSION}"
        )
    out = Store(config.out, config.single_writer)
    if out.exists(PURGE_JOURNAL):
        raise UserError(f"{config.out}: memscan purge was interrupted here; rerun it first")
    out.preflight()
    inputs = open_inputs(config)
    device, resources = choose_resources(config, config.device if file else "cpu")
    sizes = sizes or (SLOW_SIZES if file and device == "cpu" else ItemSizes())
    plan = _plan(config, out, inputs, embedder, dimension, sizes)
    work = EmbedWork(
        out=out,
        embedding=file,
        images=config.images,
        image_column=config.image_column,
        roots=inputs.roots,
        device=device,
        threads=resources.threads,
        batch_size=config.batch_size,
        gpu_share=resources.gpus,
    )
    commits = Commits(out, "commits", plan.fingerprint, REMEDY)
    embedding = _EmbeddingEvents(out.url, plan, progress)
    outcome = _embed(config, commits, plan, work, resources, embedding)
    done = [item.id for item in plan.items if item.id not in outcome.failed]
    manifest = manifest_of(plan, commits.of(done), outcome.failed)
    name = EmbeddingRecord(name=embedder.name, sha256=embedder.sha256)
    record = IndexRecord(FORMAT, name, dimension, plan.fingerprint, manifest.counts)
    seal(out, record, manifest)
    return IndexResult(
        out.url, record, manifest, embedding.state.images_per_second, _complaints(plan, manifest)
    )


def _plan(
    config: IndexConfig,
    out: Store,
    inputs: IndexInputs,
    embedder: Embedder,
    dimension: int,
    sizes: ItemSizes,
) -> IndexPlan:
    """Return the plan in ``out``, which this call makes if there is none.

    Raises UserError if the one there is of another index, or no image is listed.
    """
    about = {
        **inputs.about,
        "images": config.images,
        "image_column": config.image_column,
        "embedding": embedder.sha256,
        "dimension": dimension,
    }
    existing = read_plan(out)
    if existing is None:
        log.info(f"listing the images of {', '.join(config.inputs[:3])}")
        items = write_lists(out, inputs.list_images(), sizes, bool(config.images))
        if not items:
            why = "; ".join(f"{url}: {why}" for url, why in list(inputs.unreadable.items())[:3])
            raise UserError(f"{config.inputs[0]}: no images to index{f' ({why})' if why else ''}")
        made = IndexPlan(digest([json.dumps(about)])[:32], about, items, inputs.unreadable)
        if out.create(PLAN, made.to_json()):
            return made
        existing = read_plan(out)
        assert existing is not None, "another call has created it"
    differ = [name for name in about if existing.about.get(name) != about[name]]
    if differ or existing.about.keys() != about.keys():
        raise UserError(
            f"{config.out} holds an index of other images or settings ({', '.join(differ)}); name "
            "another --out, or remove it first"
        )
    return existing


def _embed(
    config: IndexConfig,
    commits: Commits,
    plan: IndexPlan,
    work: EmbedWork,
    resources: Resources,
    on_event: Callable[[Event[ImageBatch]], None],
) -> Outcome:
    is_alone = may_run_in_process(config.actors, config.address) and work.device == "cpu"
    here = InProcess[ImageBatch](
        lambda items: is_alone and sum(item.images for item in items) <= IN_PROCESS_IMAGES
    )
    return execute(
        commits,
        plan.items,
        work,
        resources,
        address=config.address,
        in_process=here,
        execution=Execution(in_flight=IN_FLIGHT, tags={"stage": "index"}),
        on_event=on_event,
    )


class _EmbeddingEvents:
    """Follows the events of embedding: logs them and reports progress."""

    def __init__(self, out: str, plan: IndexPlan, progress: Callable[[Indexing], None]) -> None:
        self.out, self.progress = out, progress
        self.state = Indexing(plan.images)
        self._items = len(plan.items)
        self._committed = self._new = 0
        self._began = float("inf")

    def __call__(self, event: Event[ImageBatch]) -> None:
        if isinstance(event, Started):
            self._committed = self.state.images - sum(item.images for item in event.items)
            if self._committed and event.items:
                done = f"{self._committed:,} of {self.state.images:,}"
                log.info(f"resuming: {done} images are indexed")
        elif isinstance(event, Committed):
            self._began = min(self._began, event.commit.notes["began"])
            self._committed += event.item.images
            self._new += event.item.images
            self._report(0)
        elif isinstance(event, Tick):
            self._report(sum(event.running.values()))
        else:
            log_event(log, self.out, event)

    def _report(self, running: int) -> None:
        self.state.done = self._committed + running
        seconds = time.time() - self._began
        self.state.images_per_second = self._new / seconds if seconds > 0 else 0.0
        self.progress(self.state)


def _complaints(plan: IndexPlan, manifest: Manifest) -> tuple[str, ...]:
    complaints = []
    if manifest.failed:
        name, why = next(iter(manifest.failed.items()))
        complaints.append(
            f"{manifest.counts['missing']:,} images are not in the index: {why} (first: images "
            f"{name}); rerun the same command, which tries them again"
        )
    if plan.unreadable:
        url, why = next(iter(plan.unreadable.items()))
        complaints.append(
            f"{len(plan.unreadable):,} input files could not be read to their end, such as {url}: "
            f"{why}"
        )
    return tuple(complaints)
