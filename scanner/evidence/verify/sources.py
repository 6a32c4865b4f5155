"""Find the training images that generations reproduce, among all that an index has."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scanner.captions.images import NotAnImage
from scanner.captions.limits import IMAGE_BYTES
from scanner.cluster import Resources
from scanner.errors import UserError
from scanner.evidence.index.embedders import Embedder
from scanner.evidence.index.index_files import Index
from scanner.evidence.index.search_work import search_on_pool
from scanner.query import RunTables
from scanner.run.schema import with_column
from scanner.run.verdicts import (
    OTHER,
    OWN,
    SOURCE_MATCHES,
    SOURCE_NONE,
    SOURCE_REASON,
    SOURCES,
)
from scanner.storage import Store

# Images searched per caption, of which the first ``LISTED`` are listed. Copies of one image under
# several keys are equally near.
SEARCHED = 32
LISTED = 5
# Cosine similarities that differ by less are of copies of one image.
SAME = 0.01
CAPTIONS = 3

# Source and row.
_Place = tuple[str, int]

# Captions of the images found, with how many samples of each.
_CAPTIONS = """
    SELECT number, caption_id, count(*) AS samples
    FROM (
        SELECT number, caption_id, is_reference
        FROM samples JOIN images_found USING (image_key)
        UNION ALL
        SELECT number, caption_id, is_reference
        FROM samples JOIN images_found ON
            images_found.image_key IS NULL AND samples.image_key IS NULL
            AND samples.source = images_found.source AND samples."row" = images_found."row"
    )
    WHERE NOT is_reference
    GROUP BY number, caption_id
    QUALIFY list_contains($ids, caption_id)
        OR row_number() OVER (PARTITION BY number ORDER BY samples DESC, caption_id) <= $most
    ORDER BY number, samples DESC, caption_id"""


@dataclass(frozen=True)
class SourceSearch:
    """An index to search, and where: the device and the actors. ``match``: minimum similarity of a
    copy."""

    index: Index
    embedder: Embedder
    match: float
    device: str
    resources: Resources
    address: str | None

    @property
    def name(self) -> str:
        """What the result depends on, besides the images."""
        return f"{self.index.digest[:16]} {self.match}"

    def add_sources(
        self,
        verdicts: pa.Table,
        out: Store,
        tables: RunTables,
        progress: Callable[[int, int], None],
    ) -> pa.Table:
        """Return verdicts with their sources (scanner.run.verdicts.SOURCES).

        ``out``: the verification, which has the images; ``tables``: the run's, whose samples say
        which captions an image stands under. Raises UserError if the index cannot be searched.
        """
        if not len(verdicts):
            return verdicts
        queries = np.stack([self._query(row, out) for row in verdicts.select(_NEEDED).to_pylist()])
        nearest = search_on_pool(
            self.index,
            queries,
            SEARCHED,
            out,
            self.device,
            self.resources,
            self.address,
            progress,
        )
        ids = verdicts["caption_id"].to_pylist()
        found: list[list[dict[str, Any]]] = [[] for _ in ids]
        for row in nearest.to_pylist():
            found[row["query"]].append(row)
        captions = _captions_of(nearest, tables, ids)
        rows = [self._row(name, images, captions) for name, images in zip(ids, found, strict=True)]
        for field in SOURCES:
            values = pa.array([row[field.name] for row in rows], field.type)
            verdicts = with_column(verdicts, field.name, values)
        reasons = [
            f"{reason}; {self._reason(row)}"
            for reason, row in zip(verdicts["reason"].to_pylist(), rows, strict=True)
        ]
        return with_column(verdicts, "reason", pa.array(reasons))

    def _query(self, row: dict[str, Any], out: Store) -> np.ndarray:
        """Return the mean of the unit vectors of a caption's images: (D,). Its inner product with
        an image is the mean cosine similarity over seeds."""
        names = [f"images/{name.rpartition('/')[2]}" for name in row["images"]]
        try:
            crops = [self.embedder.decode(out.read(name, IMAGE_BYTES)) for name in names]
        except (FileNotFoundError, NotAnImage) as error:
            raise UserError(
                f"{out.url}: an image of this verification is missing or damaged ({error}); remove "
                "the directory and rerun the same command, which makes it again"
            ) from error
        return self.embedder.vectors(crops).mean(0)

    def _row(
        self, caption_id: str, images: list[dict[str, Any]], captions: dict[_Place, list[str]]
    ) -> dict[str, Any]:
        """Return the values of SOURCES for a caption, from its nearest images."""
        if not images:
            return dict.fromkeys(SOURCES.names)
        best = images[0]
        equal = [one for one in images if one["similarity"] >= best["similarity"] - SAME]
        own = [one for one in equal if caption_id in captions[_place(one)]]
        whose = OWN if own else OTHER
        match = whose if best["similarity"] >= self.match else SOURCE_NONE
        # Of equally near images, the caption's own one.
        chosen = own[0] if own else best
        listed = [chosen, *(one for one in images if one is not chosen)][:LISTED]
        return {
            "source_match": match,
            "source_keys": [_key(one) for one in listed],
            "source_similarities": [one["similarity"] for one in listed],
            "source_image_key": chosen["image_key"],
            "source_file": chosen["source"],
            "source_row": chosen["row"],
            "source_caption_ids": captions[_place(chosen)][:CAPTIONS],
        }

    def _reason(self, row: dict[str, Any]) -> str:
        if not row["source_keys"]:
            return "the index has no images"
        similarity = row["source_similarities"][0]
        whose = {OWN: ", its own image", OTHER: ", not its own image"}.get(row["source_match"], "")
        return (
            f"{SOURCE_REASON} {row['source_keys'][0]}{whose}: cosine {similarity:.3f} "
            f"(threshold {self.match:.3f})"
        )


def count_sources(verdicts: pa.Table) -> dict[str, int]:
    """Return the number of captions per source_match."""
    counts = Counter(verdicts["source_match"].to_pylist())
    return {match: counts[match] for match in SOURCE_MATCHES}


_NEEDED = ["caption_id", "images"]


def _key(image: dict[str, Any]) -> str:
    key = image["key"]
    return f"{image['source']}#{image['row']}" if key is None else str(key)


def _place(image: dict[str, Any]) -> _Place:
    return image["source"], image["row"]


def _captions_of(
    nearest: pa.Table, tables: RunTables, caption_ids: list[str]
) -> dict[_Place, list[str]]:
    """Return the captions of each image found, those with most samples first: a few of them, and
    all of ``caption_ids``."""
    images = (
        nearest.select(["source", "row", "image_key"])
        .group_by(["source", "row", "image_key"])
        .aggregate([])
    )
    numbers = pa.array(range(len(images)), pa.int64())
    tables.add_table("images_found", images.append_column("number", numbers))
    places = [_place(image) for image in images.to_pylist()]
    captions: dict[_Place, list[str]] = defaultdict(list)
    parameters = {"ids": caption_ids, "most": CAPTIONS}
    for row in tables.query(_CAPTIONS, parameters).to_pylist():
        captions[places[row["number"]]].append(row["caption_id"])
    return captions
