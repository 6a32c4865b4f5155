"""Plan the files of a cleaned copy of the training set."""

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
    """One input file: its URL ``source``, its path ``target`` among the copies, and how the scan
    read it.

    ``rows``: None for a file that the scan skipped, which is copied unchanged. ``columns``: columns
    compared in removed rows to detect changes, each by its names in the removal list and in the
    file. ``has_sidecar``: img2dataset wrote the file, with its images in a tar or folder of the
    same name. ``quoting``: how the scan read quotes in a csv or tsv file.
    """

    id: str
    source: str
    target: str
    rows: int | None
    columns: tuple[tuple[str, str], ...] = ()
    has_sidecar: bool = False
    quoting: Quoting | None = None


def roots_of(run: Run, input_roots: Sequence[str]) -> Roots:
    """Return the roots of a run's inputs: its scan's --captions and ``input_roots``."""
    record = run.record()
    return Roots.of(recorded_roots(record) if record else (), input_roots)


def shards_of(plan: Plan, apply: str, roots: Roots) -> list[Shard]:
    """Return the input files of a run in order, without reference files.

    Raises UserError if the run read no files, a file is not below ``roots``, or a copy would
    overwrite its source.
    """
    files = [item for item in plan.inputs if "url" in item and not item["is_reference"]]
    if not files:
        raise UserError(
            "--apply: this run took its captions from another run (--captions-from) and read no "
            "files; curate that run, and attach this one's scores with --with"
        )
    top = _common_folder([file["url"] for file in files])
    root = full_url(apply)
    shards = []
    for number, file in enumerate(files):
        roots.refuse_other(file["url"], "--apply")
        target = file["url"].removeprefix(top).replace("://", "/")
        if f"{root}/{target}" == file["url"]:
            raise UserError(
                f"--apply {apply}: the copy of {file['url']} would overwrite it; choose another "
                "directory"
            )
        shards.append(_shard(f"{number:06d}", file, target, plan.columns.get(file["url"])))
    return shards


def check_destination(run: str, apply: str, input_roots: Sequence[str]) -> None:
    """Raise UserError if a sealed run's inputs cannot be copied to ``apply``; see shards_of."""
    opened = Run.existing(run)
    plan = opened.plan()
    assert plan is not None, "a sealed run has a plan"
    shards_of(plan, apply, roots_of(opened, input_roots))


def _shard(name: str, file: dict[str, Any], target: str, columns: dict[str, Any] | None) -> Shard:
    if columns is None:
        return Shard(name, file["url"], target, None)
    compared = {name_in_list(column).lower(): column for column in columns["keep"]}
    if columns["key"]:
        compared["key"] = columns["key"]
    return Shard(
        id=name,
        source=file["url"],
        target=target,
        rows=file["rows"],
        columns=tuple(compared.items()),
        has_sidecar=bool(columns["status"]),
        quoting=columns.get("quoting"),
    )


def _common_folder(urls: Sequence[str]) -> str:
    """Return the common prefix of all URLs, up to a slash; "" if they are in different stores."""
    folders = [posixpath.dirname(url).split("/") for url in urls]
    common = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    folder = "/".join(common) + "/" if common else ""
    # A scheme without a store's name is not a folder.
    return "" if folder.endswith(":/") or folder.endswith("://") else folder
