"""Run the items of one stage of planning, all of which must succeed."""

from collections.abc import Callable, Sequence

from scanner.cluster import InProcess, Item, Outcome, Resources, Work, execute
from scanner.errors import UserError
from scanner.run import Commit, Commits

ONE_CORE = Resources(None, cpus=1.0, gpus=0)
# Runs the items that are not committed yet.
Execute = Callable[[Commits, Sequence[Item], Callable[[], Work]], Outcome]


def execute_here(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
    """Run the items that are not committed yet in this process, whatever their number."""
    in_process = InProcess[Item](lambda _: True)
    return execute(commits, items, make_work, ONE_CORE, in_process=in_process)


def run_all(
    commits: Commits,
    items: Sequence[Item],
    make_work: Callable[[], Work],
    execute: Execute,
    what: str = "ranges of caption ids",
) -> list[Commit]:
    """Run the items and return their commits.

    ``what``: the items, for the error. Raises UserError if an item fails.
    """
    failed = execute(commits, items, make_work).failed
    if failed:
        name, reason = next(iter(failed.items()))
        raise UserError(
            f"{commits.store.url}: {len(failed)} of {len(items)} {what} cannot be "
            f"grouped ({commits.folder}/{name}: {reason}); progress is kept: fix the cause and "
            "rerun the same command"
        )
    return commits.of(item.id for item in items)
