"""Blank what rows that stay say about purged samples."""

import pyarrow as pa
import pyarrow.compute as pc

from scanner.curation.purging.targets import Targets
from scanner.run.schema import with_column
from scanner.run.verdicts import SOURCE_REASON, SOURCES

CAPTIONS = "captions"
# The sample whose image is nearest to the pictures, of the caption itself and of the training set.
_REFERENCE = ("reference_source", "reference_row")
_SOURCE = ("source_file", "source_row")
# Of the nearest images, not only the first.
_LISTS = ("source_keys", "source_similarities")
_OF_SOURCE = tuple(field.name for field in SOURCES)
READ = (*_REFERENCE, *_OF_SOURCE, "reason")


def blanked(table: pa.Table, kind: str, targets: Targets) -> pa.Table:
    """Return a table that names no purged sample, and calls captions with only reference samples
    reference captions."""
    names = set(table.column_names)
    if names.issuperset(_REFERENCE):
        gone = pa.array(targets.has_rows(*(table[name] for name in _REFERENCE)))
        for name in _REFERENCE:
            table = _replaced(table, name, gone)
    if names.issuperset(_OF_SOURCE) and len(table):
        table = _without_sources(table, targets)
    if kind == CAPTIONS:
        is_one = pc.or_(table["is_reference"], pc.is_in(table["caption_id"], targets.references))
        table = with_column(table, "is_reference", is_one)
    return table


def _without_sources(table: pa.Table, targets: Targets) -> pa.Table:
    """Return verdicts without nearest images that are purged, or stand under purged captions."""
    keys = [given or [] for given in table["source_keys"].to_pylist()]
    ids = [given or [] for given in table["source_caption_ids"].to_pylist()]
    names, gone_ids = set(targets.names.to_pylist()), set(targets.captions.to_pylist())
    is_nearest = targets.has_rows(*(table[name] for name in _SOURCE))
    is_nearest |= pc.is_in(table["source_image_key"], targets.names).to_numpy(zero_copy_only=False)
    is_nearest |= [_names_one(given[:1], names, targets) for given in keys]
    lists = pa.array([_names_one(given, names, targets) for given in keys] | is_nearest)
    captions = pa.array([not gone_ids.isdisjoint(given) for given in ids] | is_nearest)
    gone = pa.array(is_nearest)
    for name in _OF_SOURCE:
        which = {"source_caption_ids": captions, **dict.fromkeys(_LISTS, lists)}.get(name, gone)
        table = _replaced(table, name, which)
    if "reason" not in table.column_names:
        return table
    cut = pc.replace_substring_regex(table["reason"], f"(?s); {SOURCE_REASON} .*", "")
    return with_column(table, "reason", pc.if_else(gone, cut, table["reason"]))


def _names_one(keys: list[str], names: set[str], targets: Targets) -> bool:
    """Return whether keys, or file#row, name a purged sample."""
    return not names.isdisjoint(keys) or any(
        targets.has_rows(pa.chunked_array([[file]]), pa.chunked_array([[int(row)]])).any()
        for file, _, row in (key.rpartition("#") for key in keys)
        if file and row.isascii() and row.isdecimal() and len(row) < 19
    )


def _replaced(table: pa.Table, name: str, gone: pa.Array) -> pa.Table:
    nulls = pa.nulls(len(table), table.schema.field(name).type)
    return with_column(table, name, pc.if_else(gone, nulls, table[name]))
