"""Choose captions of a run, the distinct images of their samples, and where to read them."""

import hashlib
from typing import Any

import pyarrow as pa

from scanner.errors import UserError
from scanner.evidence.training_images.image_path import names_of
from scanner.evidence.training_images.options import SampleOptions
from scanner.query import RunTables, identifier

ALL = 1 << 62
# The samples of the chosen captions; those without an image key have an image each.
_MINE = """
    SELECT caption_id, caption, coalesce(image_key, source || '#' || "row") AS image, image_key,
           source, "row", key, struct_pack({fields}) AS file
    FROM samples JOIN (
        SELECT caption_id, caption FROM ranked ORDER BY rank_score DESC, caption_id LIMIT $top
    ) AS chosen USING (caption_id)
    WHERE NOT is_reference"""
# Every image is read from its first sample. In the order of the files, so that neighbors share
# one, and with the captions of an image next to each other.
_PAIRS = """
    WITH mine AS ({mine}),
    images AS (SELECT image, min_by(file, (source, "row")) AS file FROM mine GROUP BY image),
    pairs AS (
        SELECT caption_id, image, any_value(caption) AS caption, any_value(image_key) AS image_key,
               min_by(struct_pack(source, "row", key), (source, "row")) AS first,
               count(*) AS samples
        FROM mine GROUP BY caption_id, image
    )
    SELECT caption_id, caption, image, image_key, first.source, first."row", first.key, samples,
           file
    FROM pairs JOIN images USING (image)
    ORDER BY file.source, file."row", image, caption_id"""
_IMAGES = """
    FROM (
        SELECT image, any_value(image_key) AS image_key, min_by(file, (source, "row")) AS file,
               count(*) AS samples
        FROM ({mine}) GROUP BY image
    )
    ORDER BY file.source, file."row", image"""


def check_images(template: str, tables: RunTables) -> None:
    """Raise UserError if a template names a column that samples do not have."""
    columns = tables.query("FROM samples LIMIT 0").column_names
    for name in names_of(template):
        if name not in columns:
            raise UserError(
                f"--images {template}: no column {name!r} in samples, which have "
                f"{', '.join(columns)}; add columns with memscan scan --keep"
            )


def chosen_pairs(tables: RunTables, options: SampleOptions) -> pa.Table:
    """Return the distinct pairs of a chosen caption and an image of its samples.

    Columns: caption_id, caption, image, image_key; source, row and key of the pair's first sample;
    ``samples``: how many it has; ``file``: what locates the image. Raises UserError.
    """
    return _chosen(tables, options, _PAIRS)


def chosen_images(tables: RunTables, options: SampleOptions) -> pa.Table:
    """Return the distinct images of the chosen captions' samples: image, image_key, file, samples.
    Raises UserError."""
    return _chosen(tables, options, _IMAGES)


def digest(table: pa.Table, *columns: str) -> str:
    """Return a hash of text columns, in the order of the rows."""
    hashed = hashlib.sha256()
    for batch in table.select(columns).to_batches():
        for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
            hashed.update("\0".join(values).encode("utf-8", "surrogatepass") + b"\n")
    return hashed.hexdigest()[:16]


def _chosen(tables: RunTables, options: SampleOptions, query: str) -> pa.Table:
    template = options.images
    if template:
        check_images(template, tables)
    tables.rank_by(options.by, options.where or "true")
    names = dict.fromkeys(["source", "row", "key", *(names_of(template) if template else [])])
    fields = ", ".join(f"{identifier(name)} := {identifier(name)}" for name in names)
    parameters: dict[str, Any] = {"top": options.top or ALL}
    table = tables.query(query.format(mine=_MINE.format(fields=fields)), parameters)
    if not len(table):
        raise UserError(f"{options.run}: no samples of captions chosen by --where {options.where}")
    return table
