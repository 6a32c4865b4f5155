"""Drive a verification: generate on the pool, judge, and add the verdicts to the run."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scanner.cluster import Event, Task, run_items, start_for
from scanner.errors import UserError
from scanner.evidence.verify.changes import Changes, compare
from scanner.evidence.verify.chosen import check_images, choose, grouped
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.generation import Group
from scanner.evidence.verify.preparation import PreparedVerification, identity, prepare
from scanner.evidence.verify.verdicts import judge, measures_of
from scanner.query import open_run
from scanner.run import Commit, Commits, Output, Run
from scanner.run.records import encode, read_json
from scanner.run.verdicts import (
    FOLDER,
    KINDS,
    MITIGATED,
    MITIGATED_FOLDER,
    SEED_CONSISTENT,
    TABLES,
    newest,
    verdict_commits,
)
from scanner.storage import Store, full_url

log = logging.getLogger("memscan.verify")

# A pool takes an actor for hanging that needs longer than this a picture.
HANG_SECONDS = {"cpu": 1800.0, "cuda": 120.0}
SHOWN = 3
MEND = "remove it and run the same memscan verify again: what it held is made again"


@dataclass(frozen=True)
class Verification:
    """What came out: how many captions of each verdict, where it is, and what went wrong.

    ``compared``: how many captions were compared with a training image; without one, none can be
    called a copy. ``outside``: of the others, those that are not in the training set.
    ``images``, ``images_per_second``: of this call, which may have found all of them there.
    ``changes``: of mitigated pictures, against the same verification without mitigation, if there
    is one.
    """

    verdicts: dict[str, int]
    compared: int
    outside: int
    out: str
    images: int
    images_per_second: float
    complaints: tuple[str, ...]
    changes: Changes | None = None

    @property
    def warning(self) -> str | None:
        """For how many captions no training image was compared, why, and the remedy."""
        captions = sum(self.verdicts.values())
        lacking = captions - self.compared
        if not lacking:
            return None
        why = [f"{self.outside:,} are not in the training set"] if self.outside else []
        unread = lacking - self.outside
        if unread:
            why.append(f"{unread:,} have samples whose image was not found; see --images")
        return (
            f"no training image was compared for {lacking:,} of {captions:,} captions "
            f"({'; '.join(why)}): seeds that agree make these {SEED_CONSISTENT}, not a copy"
        )


@dataclass
class Drawn:
    """How far the generating is; ``seconds`` since this call's first picture was begun."""

    captions: int
    seeds: int
    captions_done: int = 0
    images: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds > 0 else 0.0


def verify(config: VerifyConfig, progress: Callable[[Drawn], None]) -> Verification:
    """Generate from the chosen captions, and add their verdicts to the run.

    The same captions and settings go on where an earlier call stopped; other thresholds judge
    what was generated again. Raises UserError for what the user has to mend.
    """
    config.check()
    run = Run.existing(config.run)
    tables = open_run(config.run)
    if config.images:
        check_images(config.images, tables)
    setting = prepare(config, run.record() or {})
    chosen = choose(config, tables, setting.run_files)
    groups = grouped(tables, chosen, config.seeds, config.references)
    if not groups:
        raise UserError(f"{config.run}: no captions to verify; see --where and --top")
    about = setting.about(groups)
    name = identity(about)
    folder = MITIGATED_FOLDER if config.mitigate else FOLDER
    out = Store(config.out or f"{config.run.rstrip('/')}/{folder}/{name}", config.single_writer)
    out.preflight()
    _begin(out, about)
    log.info(
        f"verifying {len(chosen):,} captions with {config.seeds} seeds, "
        f"{setting.recipe.steps} steps, guidance {setting.recipe.guidance:g}"
        f"{', mitigated' if config.mitigate else ''}, into {out.url}"
    )
    commits = Commits(out, "commits", name, MEND)
    place = f"{full_url(config.out)}/" if config.out else f"{folder}/{name}/"
    drawn, lost = _generate(setting, commits, groups, place, progress)
    found = commits.of(group.id for group in groups if group.id not in lost)
    table = judge(measures_of(out, found), config.thresholds, name)
    store = Store(config.run, config.single_writer)
    if len(table):
        _join(verdict_commits(store, folder), name, table, about.get("mitigation"), out.url)
    _log_problems(found)
    counted = Counter(table["verdict"].to_pylist())
    plain = identity({key: value for key, value in about.items() if key != "mitigation"})
    return Verification(
        {kind: counted[kind] for kind in KINDS},
        pc.sum(pc.greater(table["n_references"], 0)).as_py() or 0,
        _outside(groups, table),
        out.url,
        drawn.images,
        drawn.images_per_second,
        _complaints(groups, found, lost),
        compare(store, plain, table, config.thresholds) if config.mitigate else None,
    )


def _begin(out: Store, about: dict[str, Any]) -> None:
    """Claim a directory for what is verified here; another verification's is refused."""
    if out.create("verification.json", encode(about)):
        return
    there = read_json(out, "verification.json", dict[str, Any], MEND)
    differ = [key for key, value in json.loads(encode(about)).items() if there.get(key) != value]
    if differ:
        raise UserError(
            f"{out.url} holds a verification with other settings; different are: "
            f"{', '.join(differ)}. Choose another --out, or leave it out"
        )


def _generate(
    setting: PreparedVerification,
    commits: Commits,
    groups: list[Group],
    place: str,
    progress: Callable[[Drawn], None],
) -> tuple[Drawn, dict[str, str]]:
    """Do the groups that have no commit; what was drawn, and why groups were given up."""
    done = commits.done()
    left = [Task(group) for group in groups if group.id not in done]
    drawn = Drawn(sum(len(group.captions) for group in groups), setting.config.seeds)
    drawn.captions_done = drawn.captions - sum(len(task.item.captions) for task in left)
    lost: dict[str, str] = {}
    if not left:
        log.info("all pictures are there already")
        return drawn, lost
    if len(left) < len(groups):
        log.info(f"going on: {drawn.captions_done:,} of {drawn.captions:,} captions are drawn")
    start_for(setting.resources, setting.config.address)
    work = setting.work(commits.store, place)
    images = max(len(group.captions) for group in groups) * setting.config.seeds
    hang = HANG_SECONDS.get(setting.device, HANG_SECONDS["cuda"]) * images
    began = float("inf")
    for event in run_items(commits, left, work, setting.resources, hang_seconds=hang):
        if event.kind == "commit" and event.commit:
            began = min(began, event.commit.notes["began"])
            drawn.captions_done += len(event.item.captions)
            drawn.images += event.commit.notes["images"]
            drawn.seconds = time.time() - began
        elif event.kind == "quarantine":
            lost[event.item.id] = event.reason
        _log_event(event, commits.store.url)
        progress(drawn)
    return drawn, lost


def _log_event(event: Event, out: str) -> None:
    what = {
        "retry": "failed and goes back in line: ",
        "quarantine": "is given up: ",
    }
    if event.kind in what:
        line = f"group {event.item.id} {what[event.kind]}{event.reason}"
        log.warning(line, extra={"run": out, "slice": event.item.id})
    elif event.reason:
        log.info(event.reason, extra={"run": out})


def _join(
    commits: Commits, name: str, table: pa.Table, mitigation: dict[str, Any] | None, out: str
) -> None:
    """Add the verdicts to the run, unless the newest ones there say the same."""
    there = commits.all()
    thresholds = table["thresholds"][0].as_py()
    says = {
        "thresholds": thresholds,
        "captions": len(table),
        "out": full_url(out),
        "kinds": [*KINDS],  # earlier releases told other kinds
    }
    last = newest(there)
    if last and last.slice == name and says.items() <= last.notes.items():
        return
    generation = 1 + max((one.generation for one in there if one.slice == name), default=-1)
    notes = says | {"verified_at": table["verified_at"][0].as_py()}
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
        log.warning(f"{count:,} training images could not be had: {why}")


def _outside(groups: list[Group], table: pa.Table) -> int:
    """How many of the judged captions have no sample in the training set."""
    pairs = [
        (caption_id, samples)
        for group in groups
        for (caption_id, _), samples in zip(group.captions, group.samples, strict=True)
    ]
    alone = {caption_id for caption_id, samples in pairs if not samples}
    return len(alone.intersection(table["caption_id"].to_pylist()))


def _complaints(groups: list[Group], found: list[Commit], lost: dict[str, str]) -> tuple[str, ...]:
    complaints = [
        f"{len(group.captions)} captions of group {group.id} have no verdict: {lost[group.id]}; "
        "run the same command again"
        for group in groups
        if group.id in lost
    ]
    rejects = {name: why for c in found for name, why in c.notes["rejects"].items()}
    if rejects:
        name, why = next(iter(rejects.items()))
        complaints.append(f"{len(rejects)} captions have no verdict: {why} (first: {name})")
    return tuple(complaints)
