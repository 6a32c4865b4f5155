"""Run work over images in groups, each committed whole: on the pool, or here if it is little."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from scanner.cluster import (
    Committed,
    Event,
    Execution,
    InProcess,
    Resources,
    RetryLimits,
    Started,
    Work,
    execute,
    may_run_in_process,
)
from scanner.evidence.event_log import log_event
from scanner.evidence.training_images.image_groups import ImageGroup
from scanner.evidence.training_images.options import SampleOptions
from scanner.run import Commit, Commits
from scanner.run.part_tables import read_part_table
from scanner.storage import Store

log = logging.getLogger("memscan.images")

SHOWN = 3


@dataclass
class ImageProgress:
    """Progress of all groups: rows in all, done, and done by earlier calls; ``images``: read by
    this call, in ``seconds`` since it started its first group."""

    total: int
    before: int = 0
    done: int = 0
    images: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        fresh = self.done - self.before
        return self.seconds / fresh * (self.total - self.done) if fresh else None


@dataclass(frozen=True)
class GroupsResult:
    """The result of all groups: commits, progress, and why groups were given up, by id."""

    commits: list[Commit]
    progress: ImageProgress
    failed: dict[str, str]
    quarantined: int
    """Rows of the groups that were given up."""

    @property
    def missing(self) -> int:
        """Rows whose image could not be read."""
        return sum(commit.notes["missing"] for commit in self.commits)

    @property
    def complaints(self) -> tuple[str, ...]:
        return tuple(
            f"group {name} is quarantined: {why}; rerun the same command"
            for name, why in self.failed.items()
        )


def read_parts(store: Store, commits: Sequence[Commit]) -> Iterator[pa.Table]:
    """Yield the tables of commits, in the order of the groups. Raises DamagedPart."""
    for part in (part for commit in commits for part in commit.parts):
        yield read_part_table(store, part)


def run_groups(
    commits: Commits,
    groups: Sequence[ImageGroup],
    make_work: Callable[[], Work],
    options: SampleOptions,
    resources: Resources,
    *,
    few: int,
    here: Callable[[], Work] | None = None,
    hang_seconds: float,
    progress: Callable[[ImageProgress], None],
) -> GroupsResult:
    """Run the groups that have no commit yet.

    ``few``: rows up to which the work runs in this process, and is made by ``here`` if given.
    ``hang_seconds``: time per group after which an actor counts as hanging.
    """
    follower = _Follower(commits.store.url, groups, progress)
    is_one_device = not resources.gpus or resources.actors == 1
    may_be_here = is_one_device and may_run_in_process(options.actors, options.address)
    outcome = execute(
        commits,
        groups,
        make_work,
        resources,
        address=options.address,
        in_process=InProcess(lambda left: _rows(left) <= few, here) if may_be_here else None,
        execution=Execution(
            limits=RetryLimits(hang_seconds=hang_seconds), tags={"stage": "images"}
        ),
        on_event=follower,
    )
    done = commits.of(group.id for group in groups if group.id not in outcome.failed)
    _log_problems(done)
    lost = _rows([group for group in groups if group.id in outcome.failed])
    return GroupsResult(done, follower.state, outcome.failed, lost)


def _rows(groups: Sequence[ImageGroup]) -> int:
    return sum(len(group.rows) for group in groups)


def _log_problems(commits: Sequence[Commit]) -> None:
    problems: Counter[str] = Counter()
    for commit in commits:
        problems.update(commit.notes["problems"])
    for why, count in problems.most_common(SHOWN):
        log.warning(f"{count:,} images could not be read: {why}")


class _Follower:
    """Follows the events of the groups: logs them and reports progress."""

    def __init__(
        self, url: str, groups: Sequence[ImageGroup], progress: Callable[[ImageProgress], None]
    ) -> None:
        self.url, self.progress = url, progress
        self.state = ImageProgress(_rows(groups))
        self._began = float("inf")

    def __call__(self, event: Event[ImageGroup]) -> None:
        state = self.state
        if isinstance(event, Started):
            state.before = state.done = state.total - _rows(event.items)
            if state.done:
                log.info(f"resuming: {state.done:,} of {state.total:,} are done")
            return
        if isinstance(event, Committed):
            self._began = min(self._began, event.commit.notes["began"])
            state.done += len(event.item.rows)
            state.images += event.commit.notes["images"]
            state.seconds = time.time() - self._began
        log_event(log, self.url, event)
        self.progress(state)
