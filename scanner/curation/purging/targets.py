"""What a purge removes: rows of the input, and captions that lose their last sample."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.curation.key_hashes import UID
from scanner.curation.name_lists import NameList
from scanner.curation.named_samples import comparable, match_lists, take_listed
from scanner.query import RunTables

# Planning may have rejected a named row, for one or all of its captions.
_ROWS = """
    SELECT source, "row" FROM taken UNION SELECT source, "row" FROM list_rows
    ORDER BY source, "row" """
_LOST = """
    SELECT caption_id FROM (SELECT DISTINCT caption_id FROM taken) ANTI JOIN (
        SELECT caption_id FROM samples ANTI JOIN taken USING (source, "row")
        {}
    ) USING (caption_id) ORDER BY caption_id"""
_NAMES = """
    SELECT DISTINCT unnest([key, image_key]) AS name FROM taken ORDER BY name"""
# A key that kept samples have too, such as a number within each file, identifies none.
_IMAGE_NAMES = f"""
    WITH named AS (
        SELECT DISTINCT {comparable("key")} AS name
        FROM (SELECT key FROM taken UNION ALL SELECT key FROM list_entries) WHERE key IS NOT NULL
    ), kept AS (
        SELECT DISTINCT {comparable("key")} AS name
        FROM samples ANTI JOIN taken USING (source, "row")
        WHERE {comparable("key")} IN (FROM named)
    )
    FROM named ANTI JOIN kept USING (name) ORDER BY name"""
_IMAGE_KEYS = """
    SELECT DISTINCT name FROM (
        SELECT image_key AS name FROM taken UNION ALL SELECT url FROM list_entries
    ) WHERE name IS NOT NULL ORDER BY name"""


@dataclass(frozen=True)
class Targets:
    """``rows``: source and row of what is removed, sorted; ``captions``: ids of the captions that
    lose their last sample; ``references``: of those that keep only reference samples; ``names``:
    keys and image keys of the removed samples. ``keys``: of no other samples, and those that the
    lists name; ``image_keys``: also URLs that the lists name."""

    rows: pa.Table
    captions: pa.Array
    references: pa.Array
    names: pa.Array
    keys: pa.Array
    image_keys: pa.Array

    @property
    def id(self) -> str:
        """Return a name for these targets."""
        digest = hashlib.sha256()
        sources, numbers = (self.rows[name].to_pylist() for name in ("source", "row"))
        for source, row in zip(sources, numbers, strict=True):
            digest.update(f"{source}\0{row}\0".encode())
        return digest.hexdigest()[:12]

    @property
    def images_id(self) -> str:
        """Return a name for the images of these targets."""
        digest = hashlib.sha256(self.id.encode())
        for names in (self.keys, self.image_keys):
            digest.update(json.dumps(names.to_pylist()).encode())
        return digest.hexdigest()[:12]

    @cached_property
    def _by_source(self) -> dict[str, np.ndarray]:
        sources = self.rows["source"].combine_chunks().dictionary_encode()
        # Rows are sorted by source, so the codes ascend.
        starts = np.flatnonzero(np.diff(sources.indices.to_numpy())) + 1
        numbers = np.split(self.rows["row"].to_numpy(), starts)
        return dict(zip(sources.dictionary.to_pylist(), numbers, strict=False))

    def has_rows(self, source: pa.ChunkedArray, row: pa.ChunkedArray) -> np.ndarray:
        """Return which of N rows of the input are removed (N,)."""
        encoded = source.combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        numbers = row.fill_null(-1).to_numpy()
        found = np.zeros(len(codes), bool)
        for code, name in enumerate(encoded.dictionary.to_pylist()):
            if name in self._by_source:
                mine = codes == code
                found[mine] = np.isin(numbers[mine], self._by_source[name])
        return found

    def has_captions(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Return which of N caption ids are removed (N,)."""
        return pc.is_in(ids, self.captions).to_numpy(zero_copy_only=False)

    def has_images(self, images: pa.Table) -> np.ndarray:
        """Return which of N images of an index are removed (N,), by their row, key or image key."""
        keys = images["key"]
        keys = pc.if_else(pc.match_substring_regex(keys, f"^{UID}$"), pc.utf8_lower(keys), keys)
        found = self.has_rows(images["source"], images["row"])
        for values, names in ((keys, self.keys), (images["image_key"], self.image_keys)):
            found |= pc.is_in(values, names).to_numpy(zero_copy_only=False)
        return found


def find_targets(tables: RunTables, lists: Sequence[NameList]) -> Targets:
    """Match lists with the samples of a run, reference captions included.

    Other samples of the same images are removed too. Raises UserError if a list cannot be read.
    """
    match_lists(tables, lists, references=True)
    take_listed(tables, references=True)
    lost = [_column(tables, _LOST.format(more)) for more in ("", "WHERE NOT is_reference")]
    references = lost[1].filter(pc.invert(pc.is_in(lost[1], lost[0])))
    names = [_column(tables, sql).drop_null() for sql in (_NAMES, _IMAGE_NAMES, _IMAGE_KEYS)]
    return Targets(tables.query(_ROWS), lost[0], references, *names)


def count_taken(tables: RunTables) -> dict[str, int]:
    """Return how many samples and captions of the run a purge would remove.

    After :func:`find_targets`. Captions that ``--limit`` left out are in no table of the run.
    """
    captions = f"captions SEMI JOIN ({_LOST.format('')}) USING (caption_id)"
    return {
        name: tables.query(f"SELECT count(*) AS n FROM {source}")["n"][0].as_py()
        for name, source in (("samples", "taken"), ("captions", captions))
    }


def _column(tables: RunTables, sql: str) -> pa.Array:
    return tables.query(sql).column(0).combine_chunks()
