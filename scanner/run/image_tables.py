"""The tables of sample scores and image clusters in a run, which readers find through commits.

Each command commits one set of tables per choice of samples and settings, under the name that is
their hash. Of several scores of a caption with an image, the newest is valid; of several groupings
of images, the newest one as a whole.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from scanner.run.commits import Commits, Output
from scanner.run.records import Commit
from scanner.run.schema import CAPTION_ID, column
from scanner.storage import Store

SAMPLE_SCORES_FOLDER = "sample_scores"
IMAGE_CLUSTERS_FOLDER = "image_clusters"
TABLES = "tables"
PART_ROWS = 1 << 17

_IMAGE = (
    column("image", pa.string(), "the image: its key, or without one source#row"),
    column("image_key", pa.string(), "the samples' image key"),
    column("source", pa.string(), "input file of the first sample"),
    column("row", pa.int64(), "its row in that file, from 0"),
    column("key", pa.string(), "its key"),
)
SAMPLE_SCORES = pa.schema(
    [
        CAPTION_ID,
        *_IMAGE,
        column(
            "clid",
            pa.float32(),
            "mean over noise levels of clid_levels; higher for images trained on with the caption",
            source="Zhai et al. 2024",
        ),
        column(
            "clid_levels",
            pa.list_(pa.float32()),
            "error without the caption minus error with it, mean over noises, per level",
            source="Zhai et al. 2024",
        ),
        column(
            "denoising_error",
            pa.float32(),
            "error without the caption, mean over noises and levels",
            "squared norm",
        ),
        column("levels", pa.list_(pa.float32()), "noise levels", "timesteps, of 1000"),
        column("noises", pa.int32(), "how many noises per level"),
        column("scoring", pa.string(), "name: hash of samples and settings"),
        column("scored_at", pa.float64(), "when it was scored", "seconds since 1970"),
    ]
)
IMAGE_CLUSTERS = pa.schema(
    [
        *_IMAGE,
        column("cluster", pa.string(), "cluster of images that are the same"),
        column("distance", pa.int32(), "bits of the hash that differ from the cluster's center"),
        column("hash", pa.string(), "perceptual hash, 64 bits in hex"),
        column("width", pa.int32(), "of the image", "pixels"),
        column("height", pa.int32(), "of the image", "pixels"),
        column("samples", pa.int64(), "chosen samples that show the image"),
        column("grouping", pa.string(), "name: hash of images and settings"),
        column("grouped_at", pa.float64(), "when it was grouped", "seconds since 1970"),
    ]
)


def image_commits(store: Store, folder: str) -> Commits:
    """Return the commits of a run's tables of one kind, one slice per choice and settings."""
    command = "score-samples" if folder == SAMPLE_SCORES_FOLDER else "group-images"
    remedy = f"remove it and rerun the same memscan {command}, which adds its results again"
    return Commits(store, f"{folder}/commits", remedy=remedy)


def sample_score_parts(store: Store) -> list[str]:
    """Return the tables of sample scores."""
    return [part for commit in _all(store, SAMPLE_SCORES_FOLDER) for part in _paths(commit)]


def image_cluster_parts(store: Store) -> list[str]:
    """Return the tables of the newest grouping."""
    newest = max(_all(store, IMAGE_CLUSTERS_FOLDER), key=_added_at, default=None)
    return _paths(newest) if newest else []


def add_tables(
    store: Store,
    folder: str,
    name: str,
    tables: Callable[[float], Iterable[pa.Table]],
    record: dict[str, Any],
) -> None:
    """Add results to a run, unless its newest ones are the same.

    ``tables``: makes the tables, given the time. ``record``: notes that equal results have in
    common.
    """
    commits = image_commits(store, folder)
    existing = commits.all()
    last = max(existing, key=_added_at, default=None)
    if last and last.slice == name and record.items() <= last.notes.items():
        return
    now = time.time()
    generation = 1 + max((one.generation for one in existing if one.slice == name), default=-1)
    outputs = (
        Output(f"{folder}/{TABLES}", part.slice(start, PART_ROWS))
        for part in tables(now)
        for start in range(0, len(part), PART_ROWS)
    )
    commits.commit(name, outputs, generation, notes=record | {"added_at": now})


def _all(store: Store, folder: str) -> list[Commit]:
    return image_commits(store, folder).all()


def _paths(commit: Commit) -> list[str]:
    return [part.path for part in commit.parts]


def _added_at(commit: Commit) -> float:
    added_at: float = commit.notes["added_at"]
    return added_at
