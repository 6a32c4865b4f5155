"""Read clusters of images that another tool made, and match them with a run's samples."""

import zlib

import pyarrow as pa

from scanner.captions.formats import UnreadableFile, inspect, read, why_not_read
from scanner.captions.limits import LIST_BYTES
from scanner.captions.values import as_text
from scanner.errors import UserError
from scanner.query import RunTables
from scanner.storage import is_transient

CLUSTER = "cluster"
# Columns of the file, with the column of samples that each names.
NAMES = {"key": "key", "image_key": "image_key", "url": "image_key"}
GIVEN = "given_clusters"
_MATCHED = """
    SELECT image, any_value(image_key) AS image_key,
           min_by(struct_pack(source, "row", key), (source, "row")) AS first,
           min(cluster) AS cluster, count(*) AS samples
    FROM (
        SELECT coalesce(image_key, source || '#' || "row") AS image, image_key, source, "row", key,
               given_clusters.cluster
        FROM samples JOIN given_clusters ON samples.{column} = given_clusters.name
        WHERE NOT is_reference
    )
    GROUP BY image ORDER BY image"""


def given_images(url: str, tables: RunTables) -> pa.Table:
    """Return the images of samples that a file names, with their clusters.

    Columns: image, image_key, first (source, row and key of the first sample), cluster, samples. Of
    several clusters of an image, the first in the order of the alphabet counts. Raises UserError if
    the file cannot be read, lacks a column, or names no sample of the run.
    """
    where = f"--image-clusters {url}"
    try:
        name, table = _read(url, where)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, UnreadableFile) as error:
        if is_transient(error):
            raise
        raise UserError(f"{where}: cannot be read: {error}") from error
    tables.add_table(GIVEN, table)
    matched = tables.query(_MATCHED.format(column=NAMES[name]))
    if not len(matched):
        raise UserError(
            f"{where}: none of its {len(table):,} rows names a sample of the run by its "
            f"{NAMES[name]}; check the column {name}"
        )
    return matched


def _read(url: str, where: str) -> tuple[str, pa.Table]:
    """Return which column names the images, and the table of name and cluster."""
    if why := why_not_read(url, True):
        raise UserError(f"{where}: {why}; give parquet, csv, tsv or jsonl")
    present = {column.lower(): column for column in inspect(url).columns}
    name = next((name for name in NAMES if name in present), None)
    if name is None or CLUSTER not in present:
        raise UserError(
            f"{where}: needs a column {CLUSTER}, and {', '.join(NAMES)}; it has "
            f"{', '.join(present.values()) or 'no columns'}"
        )
    parts, size = [], 0
    for batch in read(url, [present[name], present[CLUSTER]]):
        columns = (batch.columns[present[column]] for column in (name, CLUSTER))
        part = pa.table(dict(zip(("name", CLUSTER), map(as_text, columns), strict=True)))
        parts.append(part.drop_null())
        size += part.nbytes
        if size > LIST_BYTES:
            raise UserError(f"{where}: over {LIST_BYTES >> 20} MiB; split it by cluster")
    empty = pa.table({"name": pa.array([], pa.string()), CLUSTER: pa.array([], pa.string())})
    return name, pa.concat_tables([empty, *parts])
