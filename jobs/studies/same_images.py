"""Study how well group-images finds copies of an image, planted under other captions.

Plants changed copies of the testbed's memorized images (recompressed, enlarged, reduced, cropped,
brightened, grey) under captions that occur once, groups all images of the data set by hash and
color, and prints precision and recall of the pairs (original, copy), by change and distance.
Precision counts every pair of images in one cluster that is not planted as wrong, unless the
testbed's own definition calls it a near-copy (RMSE of at most 0.12).

Example: python -m jobs.studies.same_images
"""

import io
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageEnhance

from jobs.console.tables import print_table
from jobs.console.terminal import command, print_json, show

SIDE = 32


def _saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _resized(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.LANCZOS)


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG, quality 50": lambda image: _saved(image, "JPEG", quality=50),
    "3 times enlarged": lambda image: _saved(_resized(image, 3 * SIDE)),
    "enlarged, JPEG": lambda image: _saved(_resized(image, 3 * SIDE), "JPEG", quality=70),
    "reduced to 24 px": lambda image: _saved(_resized(image, 24)),
    "cropped by 1 px": lambda image: _saved(image.crop((1, 1, SIDE - 1, SIDE - 1))),
    "cropped by 2 px": lambda image: _saved(image.crop((2, 2, SIDE - 2, SIDE - 2))),
    "10 % darker": lambda image: _saved(ImageEnhance.Brightness(image).enhance(0.9)),
    "grey": lambda image: _saved(image.convert("L")),
}


@dataclass(frozen=True)
class SameImagesConfig:
    """Which distances to try."""

    distances: tuple[int, ...] = (0, 2, 4, 6, 8, 10)
    """Distances of linked images, as of memscan group-images --distance."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SameImagesConfig, "jobs.studies.same_images", __doc__, _study, arguments)


def _study(config: SameImagesConfig) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from scanner.evidence.group_images.hashing import hash_image
    from scanner.query.image_clusters import near_duplicate_images
    from scanner.testbed import labels
    from scanner.testbed.files import TRAIN

    table = pq.read_table(TRAIN, columns=["caption", "url", "image"])
    files = dict(zip(table["url"].to_pylist(), table["image"].to_pylist(), strict=True))
    by_caption = dict(zip(table["caption"].to_pylist(), table["url"].to_pylist(), strict=True))
    memorized = [row["caption"] for row in labels().to_pylist() if row["group"] == "memorized"]
    planted: dict[str, str] = {}  # by name of the copy, the original's
    for original, (change, make) in itertools.product(
        (by_caption[caption] for caption in memorized), CHANGES.items()
    ):
        copy = f"{change}|{original}"
        files[copy] = make(Image.open(io.BytesIO(files[original])).convert("RGB"))
        planted[copy] = original
    hashed = [{"image": name, **vars(hash_image(data))} for name, data in files.items()]
    schema = {"image": pa.string(), "hash": pa.uint64(), "colors": pa.list_(pa.float32())}
    images = pa.Table.from_pylist(hashed, pa.schema(schema))
    record = {}
    for distance in config.distances:
        found = near_duplicate_images(images, distance)
        cluster = dict(
            zip(*(found[name].to_pylist() for name in ("image", "cluster")), strict=True)
        )
        record[str(distance)] = measure(cluster, planted, files)
    result = {"images": len(files), "planted": len(planted), "distances": record}
    print_json(result) if config.json else _print(result)
    return 0


def measure(
    cluster: dict[str, str], planted: dict[str, str], files: dict[str, bytes]
) -> dict[str, Any]:
    """Return precision and recall of the pairs in clusters, and recall by change."""
    members: dict[str, list[str]] = {}
    for image, name in cluster.items():
        members.setdefault(name, []).append(image)
    from scanner.testbed.dataset import NEAR_COPY

    wrong = right = 0
    for images in members.values():
        for pair in itertools.combinations(images, 2):
            first, second = (planted.get(name, name) for name in pair)
            is_same = first == second or _rmse(files[first], files[second]) <= NEAR_COPY
            right, wrong = right + is_same, wrong + (not is_same)
    by_change = {
        change: [
            cluster[copy] == cluster[original]
            for copy, original in planted.items()
            if copy.startswith(f"{change}|")
        ]
        for change in CHANGES
    }
    return {
        "precision": right / (right + wrong) if right + wrong else None,
        "pairs": right + wrong,
        "wrong": wrong,
        "recall": sum(map(sum, by_change.values())) / len(planted),
        "recall_by_change": {name: sum(each) / len(each) for name, each in by_change.items()},
    }


def _rmse(first: bytes, second: bytes) -> float:
    import numpy as np

    one, two = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32) / 255
        for data in (first, second)
    )
    return float(np.sqrt(((one - two) ** 2).mean()))


def _print(result: dict[str, Any]) -> None:
    show(f"{result['images']:,} images, {result['planted']:,} of them planted copies\n")
    rows = [
        {
            "distance": distance,
            "precision": one["precision"],
            "pairs": one["pairs"],
            "recall": one["recall"],
            **one["recall_by_change"],
        }
        for distance, one in result["distances"].items()
    ]
    print_table(rows, list(rows[0]))


if __name__ == "__main__":
    sys.exit(main())
