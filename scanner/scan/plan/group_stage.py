"""From staged spellings to captions: merge the parts, then group them range by range."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from scanner.run import Commit, Commits, Plan
from scanner.scan.plan.cuts import IdRange
from scanner.scan.plan.grouping import EarlierCaptions, GroupWork, find_cutoff, id_ranges
from scanner.scan.plan.image_stage import ImageStage
from scanner.scan.plan.merging import StagedParts, merge_all, staged_parts
from scanner.scan.plan.running import Execute, run_all
from scanner.scan.plan.sizes import PlanSizes
from scanner.scan.plan.spellings import SPELLING_ROWS
from scanner.scan.plan.tiers import ScanOrder
from scanner.storage import Store

# Ranges that are searched for the --limit before all parts are merged.
EARLY_RANGES = 4


@dataclass(frozen=True)
class GroupStage:
    """How the spellings of one generation of a plan are grouped: the arguments of
    :func:`scanner.scan.plan.make_plan.make_plan`, and the generation's ``folder``. ``by_images``:
    tiers are also by repeats of images."""

    store: Store
    execute: Execute
    folder: str
    earlier: Sequence[Plan]
    sizes: PlanSizes
    order: ScanOrder = "id"
    by_images: bool = False

    def run(
        self, read: Sequence[Commit], slice_rows: Callable[[int], int], limit: int | None
    ) -> list[Commit]:
        """Group all ranges of caption ids and return their commits.

        ``read``: the commits of reading. Raises UserError if parts cannot be merged or grouped.
        """
        commits = Commits(self.store, f"{self.folder}/read")
        parts = staged_parts(commits, read, SPELLING_ROWS.kind(self.folder))
        rows = sum(part.rows for part in parts)
        known_rows = sum(plan.counts["captions"] for plan in self.earlier)
        count = 1 + max(
            (rows + known_rows) // self.sizes.range_rows,
            sum(part.long_bytes for part in parts) // self.sizes.range_bytes,
        )
        earlier = EarlierCaptions(self.earlier)
        ranges = [earlier.locate(item) for item in id_ranges(count)]
        staged, cutoff = StagedParts(parts), None
        if limit is not None:
            early = ranges[:EARLY_RANGES]
            cutoff, limit = find_cutoff(self.store, map(staged.locate, early), limit)
        is_short = cutoff is not None and not _has_references(read)
        if not is_short:
            staged = merge_all(
                parts, self.store, self.execute, self.folder, SPELLING_ROWS, self.sizes
            )
        if limit and cutoff is None:
            others = map(staged.locate, islice(ranges, EARLY_RANGES, None))
            cutoff, _ = find_cutoff(self.store, others, limit)
        if cutoff and not _has_references(read):
            ranges = [item for item in ranges if item.first <= cutoff]
        ranges = [staged.locate(item) for item in ranges]
        if self.by_images:
            stage = ImageStage(self.store, self.execute, self.folder, self.earlier, self.sizes)
            repeats = stage.run(read, cutoff)
            ranges = [replace(item, repeats=repeats.locate(item).staged) for item in ranges]
        return self._group(ranges, cutoff, slice_rows(rows))

    def _group(self, ranges: Sequence[IdRange], cutoff: str | None, row_group: int) -> list[Commit]:
        commits = Commits(self.store, f"{self.folder}/group")
        make_work = partial(
            GroupWork, self.store, cutoff, row_group, self.order == "yield", self.by_images
        )
        failure = "ranges of caption ids cannot be grouped"
        return run_all(commits, ranges, make_work, self.execute, failure)


def _has_references(read: Sequence[Commit]) -> bool:
    return any(file["is_reference"] for commit in read for file in commit.notes["files"])
