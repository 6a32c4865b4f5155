"""Purge a run: find, write anew, put in place, remove the old."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from scanner.curation.name_lists import NameList
from scanner.curation.named_samples import ListEffect, list_effects
from scanner.curation.purging.commits import COMMITTED, TABLES, result_commits, table_commits
from scanner.curation.purging.decisions import purged_entries
from scanner.curation.purging.journal import (
    Journal,
    apply_journal,
    create_journal,
    pending_journal,
)
from scanner.curation.purging.leftovers import IMAGES, remove_leftovers, unfinished_work
from scanner.curation.purging.parts import Rewritten, rewrite
from scanner.curation.purging.plans import purged_plan
from scanner.curation.purging.reading import Groups, damaged, open_file, open_part
from scanner.curation.purging.targets import Targets, count_taken, find_targets
from scanner.errors import UserError
from scanner.evidence.index.index_files import open_index
from scanner.evidence.index.purging import purge_index
from scanner.plurals import pluralize
from scanner.query import open_run
from scanner.run import Commit, Commits, Run
from scanner.run.decision_log import FOLDER as DECISIONS
from scanner.run.directory import plan_name, planning_folder
from scanner.run.records import Part, encode
from scanner.storage import Store

log = logging.getLogger("memscan.purge")

# What no purge reaches, besides images that a verification wrote elsewhere.
OUTSIDE = (
    "the training set and copies of it: use memscan curate --list, with --apply",
    "removal lists, reports, explanations and exports written from this run: make them again",
    "runs made from this one (--captions-from), which have copies of its captions: purge each",
    "indexes of training images that no --index names",
    "older versions and backups that the object store keeps",
)


@dataclass(frozen=True)
class Purge:
    """The result of a purge: rows removed by table, the effect of each list, what was not reached,
    and images removed by index.

    ``resumed``: it finished an earlier purge, whose lists these are not. ``dry_run``: nothing was
    changed.
    """

    run: str
    removed: dict[str, int]
    lists: dict[str, dict[str, Any]]
    not_reached: tuple[str, ...]
    resumed: bool = False
    dry_run: bool = False
    indexes: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        verb = "would remove" if self.dry_run else "removed"
        counts = [f"{count:,} {name}" for name, count in self.removed.items() if count]
        lines = [f"{verb} from {self.run}: {', '.join(counts) or 'nothing'}"]
        lines += [
            f"{verb} from {url}: {pluralize(count, 'image')}" for url, count in self.indexes.items()
        ]
        lines += [ListEffect(**effect).to_text(name) for name, effect in self.lists.items()]
        return "\n".join([*lines, "not reached:", *(f"  {what}" for what in self.not_reached)])


def purge(
    url: str,
    lists: Sequence[NameList],
    dry_run: bool = False,
    single_writer: bool = False,
    indexes: Sequence[str] = (),
) -> Purge:
    """Remove the samples that lists name, other samples of their images, and captions that lose
    their last sample, from a run and from ``indexes`` of training images.

    New parts are written first, then the journal, then commits, plans and manifest are put in
    place, then the old parts are removed. A purge that was killed is finished first. Indexes are
    purged before the journal: afterwards the run no longer knows the samples. Run no other command
    on the run or the indexes at the same time. Raises UserError if the run or an index is not
    finished or a list cannot be read.
    """
    run = Run.existing(url)
    if not dry_run:
        run = Run(Store(url, single_writer))
        if journal := pending_journal(run.store):
            log.info("finishing a purge that was interrupted")
            _finish(run, journal)
            again = purge(url, lists, dry_run, single_writer, indexes)
            if again.removed.get("samples"):
                return again
            outside = _not_reached(journal)
            return Purge(
                url, journal.counts, journal.lists, outside, resumed=True, indexes=again.indexes
            )
    _check(run)
    for index in indexes:
        open_index(index)
    tables = open_run(url)
    targets = find_targets(tables, lists)
    effects = {name: one.to_json() for name, one in list_effects(tables, lists).items()}

    def purge_indexes() -> dict[str, int]:
        return {
            index: purge_index(index, targets.images_id, targets.has_images, dry_run, single_writer)
            for index in dict.fromkeys(indexes)
        }

    if dry_run:
        counts = count_taken(tables)
        outside = (*OUTSIDE, *_outside(run, targets))
        return Purge(url, counts, effects, outside, dry_run=True, indexes=purge_indexes())
    if not len(targets.rows):
        counts = {"samples": 0, "captions": 0}
        return Purge(url, counts, effects, OUTSIDE, indexes=purge_indexes())
    run.store.preflight()
    prepared = _prepare(run, targets, effects)
    done = purge_indexes()
    journal = create_journal(run.store, prepared)
    _finish(run, journal)
    return Purge(url, journal.counts, effects, _not_reached(journal), indexes=done)


def _finish(run: Run, journal: Journal) -> None:
    apply_journal(run, journal)
    remove_leftovers(run, journal)


def _not_reached(journal: Journal) -> tuple[str, ...]:
    return (*OUTSIDE, *journal.outside)


def _check(run: Run) -> None:
    """Raise UserError unless the run is sealed and complete."""
    if not run.is_finished():
        raise UserError(
            f"{run.store.url}: the run is not finished: before a purge, all slices must be scored "
            "and the run sealed; rerun the same memscan scan, without --budget-hours"
        )
    if run.store.exists(f"{planning_folder(len(run.plans()))}/inputs.json"):
        raise UserError(
            f"{run.store.url}: --extend was interrupted; rerun that memscan scan before the purge"
        )


class _Rewriter:
    """Rewrites files, and counts the rows that each kind of table loses."""

    def __init__(self, store: Store, targets: Targets) -> None:
        self.store, self.targets = store, targets
        self.removed: Counter[str] = Counter()

    def file(self, kind: str, path: str) -> Rewritten | None:
        """Rewrite a file that a plan names."""
        with open_file(self.store, path) as groups:
            return self._counted(kind, path, groups)

    def part(self, part: Part) -> Rewritten | None:
        """Rewrite a part that a commit names."""
        with open_part(self.store, part) as groups:
            return self._counted(part.kind, part.path, groups)

    def _counted(self, kind: str, path: str, groups: Groups) -> Rewritten | None:
        try:
            one = rewrite(self.store, kind, path, groups, self.targets)
        except (pa.ArrowException, KeyError) as error:  # columns of other types
            raise damaged(self.store, f"{path} is damaged ({error})") from error
        if one and sum(one.lost):
            top, _, inner = kind.partition("/")
            name = top if top in COMMITTED else inner or top
            self.removed[name] += sum(one.lost)
            log.info(f"{path}: {pluralize(sum(one.lost), 'row')} left out")
        return one


def _prepare(run: Run, targets: Targets, effects: dict[str, dict[str, Any]]) -> Journal:
    """Write all new parts, and return what has to be put in place."""
    store, name = run.store, targets.id
    rewriter = _Rewriter(store, targets)
    whole = run.plan()
    assert whole is not None, "checked: a finished run"
    plans = {}
    for number, plan in enumerate(run.plans()):
        new, _ = purged_plan(plan, rewriter.file)
        if new is not plan:
            plans[plan_name(number)] = new.to_json().decode()
    entries, statements = purged_entries(store, targets)
    results = dict(result_commits(run, whole, rewriter.part, name))
    tables = dict(table_commits(store, rewriter.part, name))
    changed = {f"{path.partition('/')[0]}/{commit.slice}" for path, commit in tables.items()}
    rewriter.removed[DECISIONS] += statements
    return Journal(
        id=name,
        manifest=run.newest_manifest(),
        files={**_texts(results), **_texts(tables), **plans, **entries},
        replaced=(*plans, *entries),
        images=tuple(_images(store, targets)),
        strip=tuple(unfinished_work(store, changed)),
        counts={"samples": 0, "captions": 0, **rewriter.removed},
        outside=tuple(_outside(run, targets)),
        lists=json.loads(encode(effects)),
    )


def _texts(commits: dict[str, Commit]) -> dict[str, str]:
    return {path: commit.to_json().decode() for path, commit in commits.items()}


def _images(store: Store, targets: Targets) -> list[str]:
    """Return the images in the run that are named by a purged caption."""
    gone = set(targets.captions.to_pylist())
    return [
        name
        for folder in TABLES
        for place in store.folders(folder)
        for name in store.names(f"{place}/{IMAGES}")
        if name.rpartition("/")[2].partition("-")[0] in gone
    ]


def _outside(run: Run, targets: Targets) -> list[str]:
    """Return where verifications wrote images outside of the run."""
    root = run.store.location("")
    found = {
        str(commit.notes["out"])
        for folder in TABLES
        for commit in Commits(run.store, f"{folder}/commits").all()
        if "out" in commit.notes
    }
    return [f"generated images in {out}" for out in sorted(found) if not out.startswith(root)]
