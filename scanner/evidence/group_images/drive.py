"""Group the images of chosen captions' samples, and add the clusters to the run."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.cluster.connection.placement import choose_resources
from scanner.evidence.group_images.config import GroupImagesConfig
from scanner.evidence.group_images.given import given_images
from scanner.evidence.group_images.hashing import HASHED, HashWork
from scanner.evidence.identity import identity
from scanner.evidence.training_images.group_runner import (
    GroupsResult,
    ImageProgress,
    read_parts,
    run_groups,
)
from scanner.evidence.training_images.image_groups import in_groups
from scanner.evidence.training_images.selection import chosen_images, digest
from scanner.query import Calibration, RunTables, open_run
from scanner.query.image_clusters import near_duplicate_images
from scanner.run import Commits, Run
from scanner.run.directory import recorded_roots
from scanner.run.image_tables import IMAGE_CLUSTERS, IMAGE_CLUSTERS_FOLDER, add_tables
from scanner.run.records import encode
from scanner.storage import Roots, Store

log = logging.getLogger("memscan.images")

# Images per group: the work that is lost when a process dies.
GROUP = 256
# Images up to which no Ray is started.
IN_PROCESS_IMAGES = 4096
HANG_SECONDS = 30.0
REMEDY = "remove it and rerun the same memscan group-images, which hashes its images again"
# Images that a file puts into a cluster stay there, and take the near-duplicates without one along.
_JOINED = """
    SELECT coalesce(hashed.image, given_images.image) AS image,
           coalesce(hashed.image_key, given_images.image_key) AS image_key,
           coalesce(hashed.source, first.source) AS source,
           coalesce(hashed."row", first."row") AS "row",
           CASE WHEN hashed.image IS NULL THEN first.key ELSE hashed.key END AS key,
           coalesce(
               given_images.cluster, min(given_images.cluster) OVER (PARTITION BY hashed.cluster),
               hashed.cluster
           ) AS cluster,
           distance, printf('%016x', hash) AS hash, width, height,
           coalesce(hashed.samples, given_images.samples) AS samples,
           $grouping AS grouping, $now::DOUBLE AS grouped_at
    FROM hashed FULL JOIN given_images ON hashed.image = given_images.image
    ORDER BY image"""


@dataclass(frozen=True)
class ImageGrouping:
    """The result of grouping images.

    ``images``: in the view image_clusters; ``clusters``: with at least two images, which hold
    ``grouped`` images, the largest one ``largest``. ``missing_images``: could not be read.
    """

    images: int
    clusters: int
    grouped: int
    largest: int
    missing_images: int
    quarantined: int
    images_per_second: float
    out: str
    complaints: tuple[str, ...]


def group_images(
    config: GroupImagesConfig,
    progress: Callable[[ImageProgress], None],
    calibration: Calibration | None = None,
) -> ImageGrouping:
    """Group the images of the chosen captions' samples, and add the clusters to the run.

    The same images and settings resume an earlier call. Raises UserError for what the user has to
    fix.
    """
    config.check()
    record = Run.existing(config.run).record() or {}
    tables = open_run(config.run, calibration=calibration)
    given = given_images(config.image_clusters, tables) if config.image_clusters else _NONE_GIVEN
    images = chosen_images(tables, config) if config.where is not None else None
    about: dict[str, Any] = {
        "images": config.images,
        "image_column": config.image_column,
        "distance": config.distance,
        "chosen": digest(images, "image") if images is not None else None,
        "given": digest(given, "image", "cluster"),
        "group_rows": GROUP,
    }
    name = identity(about)
    out = Store(f"{config.run.rstrip('/')}/{IMAGE_CLUSTERS_FOLDER}/{name}", config.single_writer)
    out.preflight()
    out.create("grouping.json", encode(about))
    hashed, outcome = HASHED.empty_table(), None
    if images is not None:
        outcome = _hash(config, record, images, out, name, progress)
        hashed = pa.concat_tables([hashed, *read_parts(out, outcome.commits)])
        log.info(f"{len(hashed):,} images are hashed, clustering them")
    clusters = near_duplicate_images(hashed, config.distance)
    for column in ("cluster", "distance"):
        hashed = hashed.append_column(column, clusters[column])
    return _add(config, tables, hashed, given, outcome, name, out.url)


_NONE_GIVEN = pa.table(
    {
        "image": pa.array([], pa.string()),
        "image_key": pa.array([], pa.string()),
        "first": pa.array(
            [], pa.struct({"source": pa.string(), "row": pa.int64(), "key": pa.string()})
        ),
        "cluster": pa.array([], pa.string()),
        "samples": pa.array([], pa.int64()),
    }
)


def _hash(
    config: GroupImagesConfig,
    record: dict[str, Any],
    images: pa.Table,
    out: Store,
    name: str,
    progress: Callable[[ImageProgress], None],
) -> GroupsResult:
    """Hash the images that have no commit yet."""
    log.info(f"hashing {len(images):,} images, into {out.url}")
    _, resources = choose_resources(config, "cpu")
    roots = Roots.of(recorded_roots(record), config.input_root)
    return run_groups(
        Commits(out, "commits", name, REMEDY),
        in_groups(images, GROUP),
        HashWork(config.images, config.image_column, roots),
        config,
        resources,
        few=IN_PROCESS_IMAGES,
        hang_seconds=HANG_SECONDS * GROUP,
        progress=progress,
    )


def _add(
    config: GroupImagesConfig,
    tables: RunTables,
    hashed: pa.Table,
    given: pa.Table,
    outcome: GroupsResult | None,
    name: str,
    out: str,
) -> ImageGrouping:
    """Join hashed and given clusters, and add them to the run."""
    tables.add_table("hashed", hashed)
    tables.add_table("given_images", given)

    def joined(now: float) -> list[pa.Table]:
        table = tables.query(_JOINED, {"grouping": name, "now": now})
        return [table.select(IMAGE_CLUSTERS.names).cast(IMAGE_CLUSTERS)]

    (table,) = joined(0.0)
    sizes = [size for size in Counter(table["cluster"].to_pylist()).values() if size > 1]
    if len(table):
        store = Store(config.run, config.single_writer)
        add_tables(store, IMAGE_CLUSTERS_FOLDER, name, joined, {"images": len(table)})
    return ImageGrouping(
        images=len(table),
        clusters=len(sizes),
        grouped=sum(sizes),
        largest=max(sizes, default=0),
        missing_images=outcome.missing if outcome else 0,
        quarantined=outcome.quarantined if outcome else 0,
        images_per_second=outcome.progress.images_per_second if outcome else 0.0,
        out=out,
        complaints=outcome.complaints if outcome else (),
    )
