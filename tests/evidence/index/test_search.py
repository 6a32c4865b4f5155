"""The search is exact: it equals sorting all inner products."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scanner.evidence.index import search as searching
from scanner.evidence.index import shards as shards_module
from scanner.evidence.index.search import NEAREST, Shards, nearest_of, search
from scanner.evidence.index.shards import IMAGES, shards_of
from scanner.run.results import DamagedPart
from scanner.storage import Store

DIMENSION = 16


def images(rows: int) -> pa.Table:
    columns = [["s.parquet"] * rows, range(rows), [f"k{row}" for row in range(rows)]]
    return pa.table([*columns, [None] * rows, [1] * rows], schema=IMAGES)


@pytest.fixture
def vectors() -> np.ndarray:
    drawn = np.random.default_rng(0).standard_normal((500, DIMENSION))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def shards(vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shards:
    """Seven shards of several row groups each, decoded in several batches."""
    monkeypatch.setattr(shards_module, "SHARD_BYTES", 75 * 2 * DIMENSION)
    monkeypatch.setattr(shards_module, "GROUP_BYTES", 20 * 2 * DIMENSION)
    monkeypatch.setattr(shards_module, "BATCH_BYTES", 7 * 2 * DIMENSION)
    store = Store(str(tmp_path))
    written = shards_of(images(len(vectors)), vectors)
    parts = tuple(one.write(store, f"{number:02d}") for number, one in enumerate(written))
    assert len(parts) == 7
    return Shards(store, parts, DIMENSION)


def test_search_equals_sorting_all_inner_products(
    vectors: np.ndarray, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "QUERIES", 3)
    queries = np.random.default_rng(1).standard_normal((8, DIMENSION)).astype(np.float32)
    seen: list[int] = []
    found = search(shards, queries, 10, on_images=seen.append)
    assert found.schema.equals(NEAREST)
    exact = queries @ vectors.astype(np.float32).T
    order = np.argsort(-exact, axis=1)[:, :10]
    assert found["row"].to_numpy().reshape(8, 10).tolist() == order.tolist()
    near = found["similarity"].to_numpy().reshape(8, 10)
    assert np.allclose(near, np.take_along_axis(exact, order, 1), atol=1e-5)
    assert found["key"].to_pylist() == [f"k{row}" for row in found["row"].to_pylist()]
    assert seen == sorted(seen)
    assert seen[-1] == 500


def test_results_of_parts_join_to_the_result_of_all(vectors: np.ndarray, shards: Shards) -> None:
    queries = vectors[[3, 400]].astype(np.float32)
    halves = [
        search(Shards(shards.store, parts, DIMENSION), queries, 5)
        for parts in (shards.parts[:3], shards.parts[3:])
    ]
    whole = search(shards, queries, 5)
    assert nearest_of(halves, 5).to_pylist() == whole.to_pylist()
    assert whole["row"].to_pylist()[::5] == [3, 400]


def test_fewer_images_than_wanted_are_all_returned(vectors: np.ndarray, shards: Shards) -> None:
    few = Shards(shards.store, shards.parts[-1:], DIMENSION)
    assert len(search(few, vectors[:2], 100)) == 2 * 50
    assert len(search(Shards(shards.store, (), DIMENSION), vectors[:2], 100)) == 0


def test_equally_near_images_are_in_the_order_of_the_index(tmp_path: Path) -> None:
    store, same = Store(str(tmp_path)), np.ones((6, DIMENSION), np.float16)
    parts = tuple(one.write(store, "a") for one in shards_of(images(6), same))
    found = search(Shards(store, parts, DIMENSION), same[:1], 6)
    assert found["row"].to_pylist() == [0, 1, 2, 3, 4, 5]


def test_a_changed_shard_is_refused(vectors: np.ndarray, shards: Shards) -> None:
    path = Path(shards.store.url, shards.parts[1].path)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedPart, match=r"01.parquet is damaged"):
        search(shards, vectors[:1], 5)
    path.unlink()
    with pytest.raises(DamagedPart, match=r"01.parquet is missing"):
        search(shards, vectors[:1], 5)


def test_a_shard_of_another_dimension_is_refused(vectors: np.ndarray, shards: Shards) -> None:
    with pytest.raises(DamagedPart, match="other columns than those of an index"):
        search(Shards(shards.store, shards.parts, 8), vectors[:1, :8], 5)
