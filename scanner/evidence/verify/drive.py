"""Verify captions: generate from them, judge the images, and add the verdicts to the run."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scanner.cluster import (
    Committed,
    Event,
    Execution,
    RetryLimits,
    Started,
    execute,
)
from scanner.errors import UserError
from scanner.evidence.event_log import log_event
from scanner.evidence.identity import identity
from scanner.evidence.training_images.selection import check_images
from scanner.evidence.verify.attacking import add_adversarial, count_attacks
from scanner.evidence.verify.changes import compare
from scanner.evidence.verify.chosen import choose, grouped
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.generation import CaptionGroup
from scanner.evidence.verify.preparation import PreparedVerification, prepare
from scanner.evidence.verify.sources import count_sources
from scanner.evidence.verify.verdicts import attacks_of, judge, measures_of
from scanner.evidence.verify.verification import Verification
from scanner.query import open_run
from scanner.run import Commit, Commits, Output, Run
from scanner.run.records import encode, read_json
from scanner.run.verdicts import (
    FOLDER,
    KINDS,
    MITIGATED,
    MITIGATED_FOLDER,
    TABLES,
    newest,
    verdict_commits,
)
from scanner.storage import Store, full_url

log = logging.getLogger("memscan.verify")

# Seconds per image after which an actor counts as hanging.
HANG_SECONDS = {"cpu": 1800.0, "cuda": 120.0}
# How much longer a group may take with an adversary.
ADVERSARY_TIMES = 10
SHOWN = 3
REMEDY = "remove it and rerun the same memscan verify, which makes it again"


@dataclass
class Drawn:
    """Progress of generating images; ``seconds`` since this call started its first one."""

    captions: int
    seeds: int
    captions_done: int = 0
    images: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds > 0 else 0.0


def verify(
    config: VerifyConfig,
    progress: Callable[[Drawn], None],
    searched: Callable[[int, int], None] = lambda done, images: None,
) -> Verification:
    """Generate from the chosen captions, and add their verdicts to the run.

    The same captions and settings resume an earlier call; other thresholds only judge its images
    again, and another index only searches. ``searched``: called with the images of the index
    searched so far, and all. Raises UserError for what the user has to fix.
    """
    config.check()
    run = Run.existing(config.run)
    tables = open_run(config.run)
    if config.images:
        check_images(config.images, tables)
    setting = prepare(config, run.record() or {})
    chosen = choose(config, tables, setting.run_files)
    groups = grouped(tables, chosen, config.seeds, config.references)
    _refuse_nothing(config, groups)
    about = setting.about(groups)
    name = identity(about)
    folder = MITIGATED_FOLDER if config.mitigate else FOLDER
    out = Store(config.out or f"{config.run.rstrip('/')}/{folder}/{name}", config.single_writer)
    out.preflight()
    _begin(out, about)
    log.info(
        f"verifying {len(chosen):,} captions with {config.seeds} seeds, "
        f"{setting.recipe.steps} steps, guidance {setting.recipe.guidance:g}"
        f"{', mitigated' if config.mitigate else ''}"
        f"{', with an adversary' if config.adversarial else ''}, into {out.url}"
    )
    commits = Commits(out, "commits", name, REMEDY)
    place = f"{full_url(config.out)}/" if config.out else f"{folder}/{name}/"
    drawn, lost = _generate(setting, commits, groups, place, progress)
    found = commits.of(group.id for group in groups if group.id not in lost)
    table = _judged(setting, out, found, name)
    if setting.sources:
        log.info(f"searching {setting.sources.index.images:,} training images in {config.index}")
        table = setting.sources.add_sources(table, out, tables, searched)
    store = Store(config.run, config.single_writer)
    if len(table):
        index = setting.sources.name if setting.sources else None
        _join(verdict_commits(store, folder), name, table, about.get("mitigation"), out.url, index)
    _log_problems(found)
    counted = Counter(table["verdict"].to_pylist())
    return Verification(
        {kind: counted[kind] for kind in KINDS},
        pc.sum(pc.greater(table["n_references"], 0)).as_py() or 0,
        _outside(groups, table),
        out.url,
        drawn.images,
        drawn.images_per_second,
        _complaints(groups, found, lost),
        compare(store, _plain_names(about), table, config.thresholds) if config.mitigate else None,
        count_sources(table) if setting.sources else None,
        count_attacks(table) if config.adversarial else None,
    )


def _refuse_nothing(config: VerifyConfig, groups: list[CaptionGroup]) -> None:
    """Raise UserError if there is no caption, or no image to attack captions with."""
    if not groups:
        raise UserError(f"{config.run}: no captions to verify; see --where and --top")
    if config.adversarial and not any(any(group.samples) for group in groups):
        raise UserError(
            "--adversarial: none of the captions is in the training set of "
            f"{config.run}, so there is no image to attack them with; name captions of the run"
        )


def _judged(setting: PreparedVerification, out: Store, found: list[Commit], name: str) -> pa.Table:
    """Return the verdicts of the committed groups, with the adversary's."""
    measures = measures_of(out, found)
    table = judge(measures, setting.thresholds, name)
    if not setting.config.adversarial:
        return table
    return add_adversarial(table, measures, attacks_of(out, found), setting.thresholds)


def _plain_names(about: dict[str, Any]) -> list[str]:
    """Return the names of the same verification without mitigation, and without or with an
    adversary, which changes nothing in what is compared."""
    plain = {key: value for key, value in about.items() if key != "mitigation"}
    alone = {key: value for key, value in plain.items() if key != "adversary"}
    return list(dict.fromkeys((identity(alone), identity(plain))))


def _begin(out: Store, about: dict[str, Any]) -> None:
    """Claim a directory for a verification. Raises UserError if it holds another one."""
    if out.create("verification.json", encode(about)):
        return
    existing = read_json(out, "verification.json", dict[str, Any], REMEDY)
    given = json.loads(encode(about))
    differ = [key for key, value in given.items() if existing.get(key) != value]
    if differ:
        raise UserError(
            f"{out.url} holds a verification with other settings ({', '.join(differ)}); name "
            "another --out, or leave it out"
        )


def _generate(
    setting: PreparedVerification,
    commits: Commits,
    groups: list[CaptionGroup],
    place: str,
    progress: Callable[[Drawn], None],
) -> tuple[Drawn, dict[str, str]]:
    """Generate the groups without a commit; return the progress, and why groups failed, by id."""
    drawing = _Drawing(commits.store.url, groups, setting.config.seeds, progress)
    images = max(len(group.captions) for group in groups) * setting.config.seeds
    hang = HANG_SECONDS.get(setting.device, HANG_SECONDS["cuda"]) * images
    hang *= ADVERSARY_TIMES if setting.config.adversarial else 1
    outcome = execute(
        commits,
        groups,
        setting.work(commits.store, place),
        setting.resources,
        address=setting.config.address,
        execution=Execution(limits=RetryLimits(hang_seconds=hang), tags={"stage": "verify"}),
        on_event=drawing,
    )
    return drawing.drawn, outcome.failed


class _Drawing:
    """Follows the events of generating: logs them and reports progress."""

    def __init__(
        self, out: str, groups: list[CaptionGroup], seeds: int, progress: Callable[[Drawn], None]
    ) -> None:
        self.out, self.progress = out, progress
        self.drawn = Drawn(sum(len(group.captions) for group in groups), seeds)
        self._began = float("inf")

    def __call__(self, event: Event[CaptionGroup]) -> None:
        drawn = self.drawn
        if isinstance(event, Started):
            self._start(event)
            return
        if isinstance(event, Committed):
            self._began = min(self._began, event.commit.notes["began"])
            drawn.captions_done += len(event.item.captions)
            drawn.images += event.commit.notes["images"]
            drawn.seconds = time.time() - self._began
        log_event(log, self.out, event)
        self.progress(drawn)

    def _start(self, event: Started[CaptionGroup]) -> None:
        drawn = self.drawn
        drawn.captions_done = drawn.captions - sum(len(item.captions) for item in event.items)
        if not event.items:
            log.info("all images exist already")
        elif drawn.captions_done:
            done = f"{drawn.captions_done:,} of {drawn.captions:,}"
            log.info(f"resuming: {done} captions are done")


def _join(
    commits: Commits,
    name: str,
    table: pa.Table,
    mitigation: dict[str, Any] | None,
    out: str,
    index: str | None,
) -> None:
    """Add the verdicts to the run, unless its newest ones are the same."""
    existing = commits.all()
    thresholds = table["thresholds"][0].as_py()
    record = {
        "thresholds": thresholds,
        "captions": len(table),
        "out": full_url(out),
    }
    if index:
        record["index"] = index
    last = newest(existing)
    if last and last.slice == name and record.items() <= last.notes.items():
        return
    generation = 1 + max((one.generation for one in existing if one.slice == name), default=-1)
    notes = record | {"verified_at": table["verified_at"][0].as_py()}
    folder = MITIGATED_FOLDER if mitigation else FOLDER
    if mitigation:
        column = pa.repeat(json.dumps(mitigation, sort_keys=True), len(table))
        table = table.append_column(MITIGATED.field("mitigation"), column)
    commits.commit(name, [Output(f"{folder}/{TABLES}", table)], generation, notes=notes)


def _log_problems(commits: list[Commit]) -> None:
    problems: Counter[str] = Counter()
    for commit in commits:
        problems.update(commit.notes["problems"])
    for why, count in problems.most_common(SHOWN):
        log.warning(f"{count:,} training images could not be read: {why}")


def _outside(groups: list[CaptionGroup], table: pa.Table) -> int:
    """Return how many of the judged captions have no sample in the training set."""
    pairs = [
        (caption_id, samples)
        for group in groups
        for (caption_id, _), samples in zip(group.captions, group.samples, strict=True)
    ]
    without = {caption_id for caption_id, samples in pairs if not samples}
    return len(without.intersection(table["caption_id"].to_pylist()))


def _complaints(
    groups: list[CaptionGroup], found: list[Commit], lost: dict[str, str]
) -> tuple[str, ...]:
    complaints = [
        f"{len(group.captions)} captions of group {group.id} have no verdict: {lost[group.id]}; "
        "rerun the same command"
        for group in groups
        if group.id in lost
    ]
    rejects = {name: why for c in found for name, why in c.notes["rejects"].items()}
    if rejects:
        name, why = next(iter(rejects.items()))
        complaints.append(f"{len(rejects)} captions have no verdict: {why} (first: {name})")
    return tuple(complaints)
