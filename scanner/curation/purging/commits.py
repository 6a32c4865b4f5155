"""The next generation of the commits whose parts hold what is purged."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from scanner.curation.purging.parts import Rewritten
from scanner.run import Commit, Commits, Plan, Run
from scanner.run.compaction import FOLDER, KINDS
from scanner.run.decision_log import FOLDER as DECISIONS
from scanner.run.records import Part, commit_name
from scanner.run.rejects import count_reasons
from scanner.storage import Store

# Tables that later commands add to a run. Each is a folder with ``commits/`` and the parts that
# they name; rows are found by their columns (scanner.curation.purging.parts). Further folders in it
# hold the unfinished work of these commands, and ``images/`` named by caption id.
TABLES = ("verdicts", "mitigated", "sample_scores", "image_clusters")
# These, and the log of decisions, whose folder has more than commits and parts.
COMMITTED = (*TABLES, DECISIONS)
REJECTS = ("rejects", KINDS["rejects"])
# Rewrites a part; None: it has nothing that is purged.
RewritePart = Callable[[Part], Rewritten | None]


def result_commits(
    run: Run, plan: Plan, rewrite: RewritePart, name: str
) -> Iterator[tuple[str, Commit]]:
    """Yield the file names and contents of new commits of scored slices and merged groups.

    A merged group is of the generation that its slices add up to: its first slice gets another
    generation too, without parts. ``name``: of the purge, for attempts.
    """
    layout = run.layout(plan)
    groups = {group.id: group for group in layout.merged}
    for commit, slices in run.results(layout).held:
        new = purged_commit(run.store, commit, rewrite, name)
        if new is None:
            continue
        if len(slices) == 1:
            yield commit_name("commits", new.slice, new.generation), new
            continue
        first = groups[commit.slice].slices[0]
        empty = replace(new, slice=first.id, generation=first.generation + 1, parts=(), notes={})
        yield commit_name("commits", first.id, first.generation + 1), empty
        yield commit_name(FOLDER, new.slice, new.generation), new


def table_commits(store: Store, rewrite: RewritePart, name: str) -> Iterator[tuple[str, Commit]]:
    """Yield the file names and contents of new commits of the tables that commands added."""
    for folder in COMMITTED:
        commits = Commits(store, f"{folder}/commits")
        for commit in commits.all():
            new = purged_commit(store, commit, rewrite, name)
            if new:
                yield commit_name(commits.folder, new.slice, new.generation), new


def purged_commit(store: Store, commit: Commit, rewrite: RewritePart, name: str) -> Commit | None:
    """Return the next generation of a commit, None if no part has anything that is purged."""
    parts: list[Part] = []
    reasons: dict[str, int] | None = None
    is_changed = False
    for part in commit.parts:
        one = rewrite(part)
        is_changed |= one is not None
        new = one.part if one else part
        if one and part.kind in REJECTS:
            reasons = count_reasons(store, [new.path] if new else [])
        if new:
            parts.append(new)
    if not is_changed:
        return None
    notes: dict[str, Any] = dict(commit.notes)
    if "replaced" in notes:
        notes["replaced"] = []  # the parts that were merged are removed
    if reasons is not None:
        notes["reasons"] = reasons
    return replace(
        commit, generation=commit.generation + 1, attempt=name, parts=tuple(parts), notes=notes
    )
