"""From samples to how often the images of captions are repeated, for the order of a scan.

An image that is repeated under many captions is in none of their numbers of samples. Counting it
takes a join of all samples by image, and of the result by caption. Both are done as captions are
grouped: parts sorted by id, merged until a range of ids is in few of them, then counted range by
range, with one commit per item. Memory is bounded, also for an image that most samples show, and
requests grow as those of captions do.

Approximations would save little. To tell images of one sample from those of two or more among 1e9
samples, a sketch takes more than a gigabyte, which every unit would write and every range read;
and a sample of the images misses the repeated ones that are not in it. What is staged instead, two
hashes and a count per sample, is less than the spelling of a caption. Images of one sample, mostly
the majority, end here: only captions of repeated ones are staged again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from scanner.run import Commit, Commits, Plan
from scanner.scan.plan.grouping import id_ranges
from scanner.scan.plan.image_pairs import (
    IMAGES,
    PAIR_ROWS,
    REPEAT_ROWS,
    PairWork,
    RepeatWork,
    SamplesFile,
)
from scanner.scan.plan.merging import StagedParts, merge_all, staged_parts
from scanner.scan.plan.running import Execute, run_all
from scanner.scan.plan.sizes import PlanSizes
from scanner.storage import Store


@dataclass(frozen=True)
class ImageStage:
    """How images are counted for one generation of a plan: see
    :class:`scanner.scan.plan.group_stage.GroupStage`."""

    store: Store
    execute: Execute
    folder: str
    earlier: Sequence[Plan]
    sizes: PlanSizes

    def run(self, read: Sequence[Commit], cutoff: str | None) -> StagedParts:
        """Return the parts that say how often the images of captions are repeated, by caption id.

        ``read``: the commits of reading; ``cutoff``: no caption with an id above it is planned.
        Raises UserError if an item fails.
        """
        folder, sizes = self.folder, self.sizes
        commits = Commits(self.store, f"{folder}/image_read")
        make_pairs = partial(PairWork, self.store, folder, sizes)
        files = samples_files(self.earlier, read)
        done = run_all(commits, files, make_pairs, self.execute, "samples files cannot be read")
        pairs = staged_parts(commits, done, PAIR_ROWS.kind(folder))
        merged = merge_all(pairs, self.store, self.execute, folder, PAIR_ROWS, sizes)

        count = 1 + sum(part.rows for part in pairs) // sizes.range_rows
        ranges = [merged.locate(item) for item in id_ranges(count)]
        commits = Commits(self.store, f"{folder}/image_group")
        make_repeats = partial(RepeatWork, self.store, folder, sizes, cutoff)
        done = run_all(commits, ranges, make_repeats, self.execute, f"{IMAGES} cannot be grouped")
        repeats = staged_parts(commits, done, REPEAT_ROWS.kind(folder))
        return merge_all(repeats, self.store, self.execute, folder, REPEAT_ROWS, sizes)


def samples_files(earlier: Sequence[Plan], read: Sequence[Commit]) -> list[SamplesFile]:
    """Return the samples files of earlier plans, if they have image keys, and of the commits of
    reading."""
    with_images = [
        plan for plan in earlier if any(chosen["image_key"] for chosen in plan.columns.values())
    ]
    paths = [(path, True) for plan in with_images for path in plan.samples]
    paths += [(path, False) for commit in read for path in commit.paths("samples")]
    return [SamplesFile(f"{number:06d}", *path) for number, path in enumerate(paths)]
