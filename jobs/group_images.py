"""Group training images that are the same: recompressed, resized or slightly changed copies.

Hashes the images of the chosen captions' samples (perceptual hash, 64 bits) and clusters those
whose hashes and colors agree, whatever their captions and keys. Adds the clusters to the run as the
view image_clusters. In a policy of memscan curate, of = "image_cluster" treats a cluster as one
image. Images under captions that --where leaves out are in no cluster: use --where true to find all
copies of an image. Rerun the same command to resume.

Examples: memscan group-images RUN --where true
          memscan group-images RUN --where "n_samples > 10" --images 's3://bucket/{key}.jpg'
          memscan group-images RUN --image-clusters clusters.parquet
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jobs.console.calibrations import named_calibration
from jobs.console.early_checks import check_calibration, check_files, check_run
from jobs.console.logs import LogOptions
from jobs.console.progress import ImagesProgress
from jobs.console.terminal import announce_loading, command, next_step, print_json, show, warn
from scanner.evidence.group_images.config import GroupImagesConfig


@dataclass(frozen=True)
class GroupImagesCommand(GroupImagesConfig, LogOptions):
    """Which images to group, and how messages are written."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(GroupImagesCommand, "group-images", __doc__, _group, arguments)


def _group(config: GroupImagesConfig) -> int:
    config.check()
    check_run(config.run)
    check_calibration(config.calibration)
    check_files("--image-clusters", [config.image_clusters])
    announce_loading("PyTorch and Ray")

    from scanner.evidence.group_images.drive import group_images

    with ImagesProgress("images hashed") as progress:
        result = group_images(config, progress, named_calibration(config.calibration))
    if config.json:
        print_json(asdict(result))
    else:
        show(
            f"{result.images:,} images: {result.grouped:,} in {result.clusters:,} clusters of at "
            f"least two, the largest of {result.largest:,}"
        )
        if result.images_per_second:
            show(f"{result.images_per_second:.1f} images per second")
        show(f"hashes in {result.out}")
        query = "SELECT cluster, count(*) AS images FROM image_clusters GROUP BY ALL ORDER BY ALL"
        next_step("memscan", "sql", config.run, query)
    if result.missing_images:
        warn(f"{result.missing_images:,} images are in no cluster: not found; see --images")
    for complaint in result.complaints:
        warn(complaint)
    return 3 if result.quarantined else 0


if __name__ == "__main__":
    sys.exit(main())
