"""Find the training images nearest to an image.

Compares the image with every image of an index that memscan index-images has made, exactly, and
prints the most similar ones with their keys.

Example: memscan find-image suspect.png --index s3://bucket/index --top 5
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jobs.console.early_checks import check_files
from jobs.console.escaping import printable
from jobs.console.progress import SearchProgress
from jobs.console.terminal import announce_loading, command, print_json, show
from scanner.errors import UsageError
from scanner.evidence.embedding_file import embedding_of
from scanner.models.device.device_option import check_device

if TYPE_CHECKING:
    from scanner.evidence.index.find import Found


@dataclass(frozen=True)
class FindConfig:
    """The images, the index, and its embedding."""

    files: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Image files or URLs to look for: PNG, JPEG, WebP, GIF or BMP."""
    index: str
    """The index's directory or URL."""
    top: int = 5
    """Number of nearest training images to print per file."""
    match: float | None = None
    """Minimum cosine similarity to call an image a copy; by default 0.75 with --embedding (what the
    authors of SSCD use), and the built-in descriptor's own."""
    embedding: str | None = None
    """The embedding that the index was made with, if not the built-in one."""
    embedding_sha256: str | None = None
    """SHA-256 of the embedding file; required with --embedding."""
    device: str = "auto"
    """Device to compare on: cuda, cpu or auto (cuda if available)."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(FindConfig, "find-image", __doc__, _find, arguments)


def _find(config: FindConfig) -> int:
    if config.top < 1:
        raise UsageError(f"--top {config.top}: must be at least 1")
    if not config.files:
        raise UsageError("name at least one image file")
    if config.match is not None and not 0 <= config.match <= 1:
        raise UsageError(f"--match {config.match}: must be between 0 and 1")
    check_device(config.device, takes_number=True)
    file = embedding_of(config.embedding, config.embedding_sha256)

    check_files("FILES", config.files)
    check_files("--index", [config.index])
    check_files("--embedding", [config.embedding])
    announce_loading("PyTorch")

    from scanner.evidence.index.find import find_images
    from scanner.models.loading import choose_device

    device = choose_device(config.device)
    with SearchProgress() as progress:
        found = find_images(config.files, config.index, config.top, file, device, progress)
    match = found.match if config.match is None else config.match
    results = _results(config, found, match)
    if config.json:
        print_json({"index": config.index, "match": match, "files": results})
        return 0
    for result in results:
        show(f"{printable(result['file'])}")
        for one in result["nearest"]:
            place = f"{one['source']} row {one['row']}"
            key = one["key"] if one["key"] is not None else "–"
            copy = "copy" if one["is_match"] else ""
            show(
                f"  {one['similarity']:.3f}  {copy:4}  {printable(key)}  {printable(place)}"
                f"  {one['samples']:,} samples"
            )
    return 0


def _results(config: FindConfig, found: "Found", match: float) -> list[dict[str, Any]]:
    rows = found.nearest.to_pylist()
    results = []
    for number, name in enumerate(config.files):
        nearest = [
            {key: value for key, value in row.items() if key != "query"}
            | {"is_match": row["similarity"] >= match}
            for row in rows
            if row["query"] == number
        ]
        results.append({"file": name, "nearest": nearest})
    return results


if __name__ == "__main__":
    sys.exit(main())
