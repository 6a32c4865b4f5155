"""Open what an index is made of: the training set of a run, or input files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.errors import UserError
from scanner.evidence.index.config import IndexConfig
from scanner.evidence.index.listing import FileListing, KeyColumns, images_of_run
from scanner.evidence.index.plan import digest
from scanner.evidence.index.shards import IMAGES
from scanner.evidence.training_images.image_path import names_of
from scanner.evidence.training_images.selection import check_images
from scanner.query import open_run
from scanner.run import Run
from scanner.run.directory import recorded_roots
from scanner.storage import Roots, Store, full_url


@dataclass(frozen=True)
class IndexInputs:
    """What to index: ``about`` identifies it; ``list_images`` yields its distinct images, and the
    reasons for files that could not be read are in ``unreadable`` afterwards."""

    about: dict[str, Any]
    roots: Roots
    list_images: Callable[[], Iterator[pa.RecordBatch]]
    unreadable: dict[str, str]


def open_inputs(config: IndexConfig) -> IndexInputs:
    """Open the run or the files that the options name. Raises UserError."""
    kept = names_of(config.images) if config.images else []
    kept = [name for name in dict.fromkeys(kept) if name not in IMAGES.names]
    if len(config.inputs) == 1 and Store(config.inputs[0], single_writer=True).exists("run.json"):
        return _run_inputs(config, config.inputs[0], kept)
    listing = FileListing.of(config.inputs)
    columns = KeyColumns(config.key_column, config.image_key, tuple(kept))
    return IndexInputs(
        {"files": digest(listing.urls), "key_column": columns.key, "image_key": columns.image_key},
        Roots.of(config.inputs, config.input_root),
        lambda: listing.images(columns),
        listing.unreadable,
    )


def _run_inputs(config: IndexConfig, url: str, kept: list[str]) -> IndexInputs:
    if config.key_column or config.image_key:
        raise UserError(
            f"{url}: a run has its own keys; leave out --key-column and --image-key, or index the "
            "input files"
        )
    tables, run = open_run(url), Run.existing(url)
    if config.images:
        check_images(config.images, tables)
    manifest = run.manifest()
    assert manifest is not None, "open_run checked it"
    return IndexInputs(
        {"run": full_url(url), "samples": digest(manifest["samples"])},
        Roots.of(recorded_roots(run.record() or {}), config.input_root),
        lambda: images_of_run(tables, kept),
        {},
    )
