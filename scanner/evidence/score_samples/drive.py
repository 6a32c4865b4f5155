"""Score the samples of chosen captions, and add the scores to the run."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from scanner.cluster import Resources
from scanner.cluster.connection.placement import choose_resources
from scanner.cores import usable_cores
from scanner.errors import UsageError
from scanner.evidence.identity import identity
from scanner.evidence.run_model import choose_models
from scanner.evidence.score_samples.config import ScoreSamplesConfig
from scanner.evidence.score_samples.work import SampleRecipe, ScoreSamplesWork
from scanner.evidence.training_images.group_runner import (
    GroupsResult,
    ImageProgress,
    read_parts,
    run_groups,
)
from scanner.evidence.training_images.image_groups import in_groups
from scanner.evidence.training_images.selection import chosen_pairs, digest
from scanner.models.loading import choose_dtype
from scanner.models.noise_process import NoiseProcess, Timestep
from scanner.query import Calibration, open_run
from scanner.run import Commit, Commits, Run
from scanner.run.directory import recorded_roots
from scanner.run.image_tables import SAMPLE_SCORES, SAMPLE_SCORES_FOLDER, add_tables
from scanner.run.records import encode
from scanner.storage import Roots, Store

log = logging.getLogger("memscan.samples")

BATCH = 32
# Forwards per group: the work that is lost when a process dies.
GROUP_FORWARDS = 1024
# Forwards up to which no Ray is started, as in a scan.
IN_PROCESS_FORWARDS = 256
# Seconds per forward after which an actor counts as hanging.
HANG_SECONDS = {"cpu": 600.0, "cuda": 10.0}
REMEDY = "remove it and rerun the same memscan score-samples, which scores its samples again"


@dataclass(frozen=True)
class SampleScoring:
    """The result of scoring samples.

    ``samples``: of the chosen captions; ``pairs``: of a caption and an image among them, each
    scored once: ``scored`` + ``missing_images`` + ``rejected`` (not finite) + ``quarantined``.
    """

    samples: int
    pairs: int
    scored: int
    missing_images: int
    rejected: int
    quarantined: int
    images_per_second: float
    out: str
    complaints: tuple[str, ...]


def score_samples(
    config: ScoreSamplesConfig,
    progress: Callable[[ImageProgress], None],
    calibration: Calibration | None = None,
) -> SampleScoring:
    """Score the samples of the chosen captions, and add the scores to the run.

    The same samples and settings resume an earlier call. Raises UserError for what the user has to
    fix.
    """
    config.check()
    record = Run.existing(config.run).record() or {}
    tables = open_run(config.run, calibration=calibration)
    work, resources = _prepare(config, record)
    recipe = work.recipe
    pairs = chosen_pairs(tables, config)
    forwards = 2 * len(recipe.levels) * recipe.noises
    size = max(1, GROUP_FORWARDS // forwards)
    about = {
        **recipe.to_json(),
        "images": config.images,
        "image_column": config.image_column,
        "pairs": digest(pairs, "caption_id", "image"),
        "group_rows": size,
    }
    name = identity(about)
    out = Store(f"{config.run.rstrip('/')}/{SAMPLE_SCORES_FOLDER}/{name}", config.single_writer)
    out.preflight()
    out.create("scoring.json", encode(about))
    log.info(
        f"scoring {len(pairs):,} pairs of a caption and an image, {forwards} forwards each, into "
        f"{out.url}"
    )
    outcome = run_groups(
        Commits(out, "commits", name, REMEDY),
        in_groups(pairs, size),
        work,
        config,
        resources,
        few=IN_PROCESS_FORWARDS // forwards,
        here=replace(work, threads=usable_cores()),
        hang_seconds=HANG_SECONDS.get(work.device, HANG_SECONDS["cuda"]) * size * forwards,
        progress=progress,
    )
    scored = sum(part.rows for commit in outcome.commits for part in commit.parts)
    if scored:
        add_tables(
            Store(config.run, config.single_writer),
            SAMPLE_SCORES_FOLDER,
            name,
            lambda now: _tables(out, outcome.commits, name, now),
            {"scored": scored},
        )
    return _result(pairs, outcome, scored, out.url)


def _prepare(
    config: ScoreSamplesConfig, record: dict[str, Any]
) -> tuple[ScoreSamplesWork, Resources]:
    """Resolve the options, before any actor starts. Raises UsageError or UserError."""
    files, weights, _ = choose_models(
        "score-samples", config.run, record, config.model, config.revision, any_family=True
    )
    dtype = record["options"]["model"]["dtype"] if config.dtype == "run" else config.dtype
    device, resources = choose_resources(config, config.device)
    recipe = SampleRecipe(
        model=replace(files.spec, dtype=choose_dtype(dtype, device)),
        weights=weights,
        levels=_levels(config.levels, files.noise_process),
        noises=config.noises,
        height=config.height,
        width=config.width,
    )
    work = ScoreSamplesWork(
        recipe=recipe,
        device=device,
        threads=resources.threads,
        batch_size=config.batch_size or BATCH,
        images=config.images,
        image_column=config.image_column,
        roots=Roots.of(recorded_roots(record), config.input_root),
        gpu_share=resources.gpus,
    )
    return work, resources


def _levels(levels: tuple[float, ...], process: NoiseProcess) -> tuple[Timestep, ...]:
    """Return the timesteps, whole ones for DDPM. Raises UsageError for those out of range."""
    is_whole = process.kind == "ddpm"
    most = process.levels - 1 if is_whole else process.levels
    for level in levels:
        if not 0 < level <= most or (is_whole and level != int(level)):
            kind = "whole timesteps" if is_whole else "numbers (1000 σ)"
            raise UsageError(f"--levels {level:g}: must be {kind} above 0, at most {most}")
    return tuple(int(level) if is_whole else level for level in dict.fromkeys(levels))


def _tables(
    store: Store, commits: list[Commit], name: str, now: float, rows: int = 1 << 17
) -> Iterator[pa.Table]:
    """Yield the scores of all groups as few tables (SAMPLE_SCORES)."""
    waiting: list[pa.Table] = []
    for table in read_parts(store, commits):
        table = table.append_column("scoring", pa.repeat(name, len(table)))
        table = table.append_column("scored_at", pa.repeat(now, len(table)))
        waiting.append(table.select(SAMPLE_SCORES.names).cast(SAMPLE_SCORES))
        if sum(map(len, waiting)) >= rows:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _result(pairs: pa.Table, outcome: GroupsResult, scored: int, out: str) -> SampleScoring:
    rejected = sum(sum(commit.notes["reasons"].values()) for commit in outcome.commits)
    return SampleScoring(
        samples=sum(pairs["samples"].to_pylist()),
        pairs=len(pairs),
        scored=scored,
        missing_images=outcome.missing,
        rejected=rejected,
        quarantined=outcome.quarantined,
        images_per_second=outcome.progress.images_per_second,
        out=out,
        complaints=outcome.complaints,
    )
