"""Which files a cleaned copy of the training set has, and where they go."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.captions.records import Quoting
from scanner.curation.removals import name_in_list
from scanner.errors import UserError
from scanner.run import Plan, Run
from scanner.run.directory import recorded_roots
from scanner.storage import Roots, full_url


@dataclass(frozen=True)
class Shard:
    """One input file: its URL, its name among the copies, and what the scan read in it.

    ``rows`` is None for a file that was left out whole, and is copied as it is. ``columns`` are
    looked at in the rows that go, to see that they are still the ones scanned, by their names in
    the removal list. ``beside``: img2dataset wrote the file, with its images in a tar or a folder
    of the same name. ``quoting``: how the scan read the quotes of a csv or tsv.
    """

    id: str
    source: str
    target: str
    rows: int | None
    columns: tuple[tuple[str, str], ...] = ()
    beside: bool = False
    quoting: Quoting | None = None


def roots_of(run: Run, input_roots: Sequence[str]) -> Roots:
    """Where the inputs of a run may lie: below its scan's --captions, or below ``input_roots``."""
    record = run.record()
    return Roots.of(recorded_roots(record) if record else (), input_roots)


def shards_of(plan: Plan, apply: str, roots: Roots) -> list[Shard]:
    """The input files of a run that were no references, in their order.

    Raises UserError where the run read no files, where a file does not lie below ``roots``, and
    where a copy would replace its own source.
    """
    files = [item for item in plan.inputs if "url" in item and not item["is_reference"]]
    if not files:
        raise UserError(
            "--apply: this run scanned the captions of another run (--captions-from) and read no "
            "files itself; curate that one, with --with for this run's scores"
        )
    top = _common_folder([file["url"] for file in files])
    root = full_url(apply)
    shards = []
    for number, file in enumerate(files):
        roots.refuse_other(file["url"], "--apply")
        target = file["url"].removeprefix(top).replace("://", "/")
        if f"{root}/{target}" == file["url"]:
            raise UserError(
                f"--apply {apply}: {file['url']} would be replaced by its own copy; name another "
                "place"
            )
        shards.append(_shard(f"{number:06d}", file, target, plan.columns.get(file["url"])))
    return shards


def check_place(run: str, apply: str, input_roots: Sequence[str]) -> None:
    """Raises UserError where no copies of what a sealed run read can go there; see shards_of."""
    opened = Run.existing(run)
    plan = opened.plan()
    assert plan is not None, "a sealed run has a plan"
    shards_of(plan, apply, roots_of(opened, input_roots))


def _shard(name: str, file: dict[str, Any], target: str, columns: dict[str, Any] | None) -> Shard:
    if columns is None:
        return Shard(name, file["url"], target, None)
    looked_at = {name_in_list(column).lower(): column for column in columns["keep"]}
    if columns["key"]:
        looked_at["key"] = columns["key"]
    return Shard(
        id=name,
        source=file["url"],
        target=target,
        rows=file["rows"],
        columns=tuple(looked_at.items()),
        beside=bool(columns["status"]),
        quoting=columns.get("quoting"),
    )


def _common_folder(urls: Sequence[str]) -> str:
    """What all URLs begin with, up to a slash; "" where they are in different stores."""
    folders = [posixpath.dirname(url).split("/") for url in urls]
    common = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    found = "/".join(common) + "/" if common else ""
    # Less than a store's name is no folder.
    return "" if found.endswith(":/") or found.endswith("://") else found
