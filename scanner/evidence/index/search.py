"""Exact nearest-neighbor search: stream the shards of an index through a matrix product.

Nothing is approximated, and no structure besides the shards is kept: every vector is compared with
every query. Memory is bounded by a few blocks of one shard, and the nearest images so far.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from scanner.evidence.index.read_ahead import read_ahead
from scanner.evidence.index.shards import IMAGES, read_images, read_vectors
from scanner.run.records import Part
from scanner.run.schema import column
from scanner.storage import Store

# Queries multiplied at a time: a block of similarities takes some 50 MB.
QUERIES = 4096

NEAREST = pa.schema(
    [
        column("query", pa.int64(), "number of the query, from 0"),
        column("similarity", pa.float32(), "inner product with the query"),
        *IMAGES,
    ]
)
"""The result of a search: the nearest images of each query, nearest first."""


@dataclass(frozen=True)
class Shards:
    """Shards to search, in order, and the dimension of their vectors."""

    store: Store
    parts: tuple[Part, ...]
    dimension: int


def search(
    shards: Shards,
    queries_QD: np.ndarray,
    top: int,
    device: str = "cpu",
    on_images: Callable[[int], None] = lambda count: None,
) -> pa.Table:
    """Return the ``top`` images with the largest inner product with each query (NEAREST).

    For unit vectors that is the cosine similarity; for the mean of several unit queries, the mean
    of their cosine similarities. Equally near images are in the order of the index. ``on_images``
    is called with the number of images compared so far. Raises DamagedPart.
    """
    best = _Nearest(torch.from_numpy(np.ascontiguousarray(queries_QD, np.float32)), top, device)
    done = 0
    for first, vectors_ND in read_ahead(_blocks(shards)):
        best.add(vectors_ND, first)
        done += len(vectors_ND)
        on_images(done)
    return _resolve(shards, *best.sorted())


def nearest_of(tables: Sequence[pa.Table], top: int) -> pa.Table:
    """Return the nearest images of each query over the results of several searches.

    ``tables``: in the order of their shards.
    """
    both = pa.concat_tables([NEAREST.empty_table(), *tables])
    similarity = both["similarity"].to_numpy(zero_copy_only=False)
    query = both["query"].to_numpy(zero_copy_only=False)
    order = np.lexsort((np.arange(len(both)), -similarity, query))
    ordered = query[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return both.take(order[rank < top])


class _Nearest:
    """The nearest images so far, as (shard << 32) + row in the shard."""

    def __init__(self, queries_QD: Tensor, top: int, device: str) -> None:
        self.top = top
        self.device = device
        self.queries_QD = queries_QD.to(device)
        count = len(queries_QD)
        self.similarity_QK = torch.full((count, 0), -torch.inf, device=device)
        self.places_QK = torch.zeros((count, 0), dtype=torch.int64, device=device)

    def add(self, vectors_ND: Tensor, first: int) -> None:
        """Compare more vectors, whose places count from ``first``."""
        vectors = vectors_ND.to(self.device).float()
        parts = [
            self._merged(slice(start, start + QUERIES), vectors, first)
            for start in range(0, len(self.queries_QD), QUERIES)
        ]
        self.similarity_QK = torch.cat([similarity for similarity, _ in parts])
        self.places_QK = torch.cat([places for _, places in parts])

    def _merged(self, part: slice, vectors_ND: Tensor, first: int) -> tuple[Tensor, Tensor]:
        similarity_QN = self.queries_QD[part] @ vectors_ND.T
        near, rows = similarity_QN.topk(min(self.top, len(vectors_ND)), dim=1)
        similarity = torch.cat([self.similarity_QK[part], near], 1)
        places = torch.cat([self.places_QK[part], rows + first], 1)
        if similarity.shape[1] > self.top:
            similarity, kept = similarity.topk(self.top, dim=1)
            places = places.gather(1, kept)
        return similarity, places

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Return similarities and places (Q, K), nearest first, equal ones by place."""
        similarity, places = self.similarity_QK.cpu().numpy(), self.places_QK.cpu().numpy()
        order = np.lexsort((places, -similarity), axis=1)
        return np.take_along_axis(similarity, order, 1), np.take_along_axis(places, order, 1)


def _blocks(shards: Shards) -> Iterator[tuple[int, Tensor]]:
    """Yield all vectors in blocks, each with the place of its first."""
    for number, part in enumerate(shards.parts):
        row = 0
        for vectors_ND in read_vectors(shards.store, part, shards.dimension):
            yield (number << 32) + row, vectors_ND
            row += len(vectors_ND)


def _resolve(shards: Shards, similarity_QK: np.ndarray, places_QK: np.ndarray) -> pa.Table:
    """Return the result, reading what identifies the images from the shards that hold them."""
    places = places_QK.reshape(-1)
    distinct = np.unique(places)
    tables = [IMAGES.empty_table()]
    for number in np.unique(distinct >> 32):
        rows = distinct[distinct >> 32 == number] & 0xFFFFFFFF
        part = shards.parts[int(number)]
        tables.append(read_images(shards.store, part, shards.dimension, rows.tolist()))
    images = pa.concat_tables(tables).take(np.searchsorted(distinct, places))
    query = np.repeat(np.arange(len(places_QK)), places_QK.shape[1])
    columns = [query, similarity_QK.reshape(-1), *images.columns]
    return pa.table(columns, schema=NEAREST)
