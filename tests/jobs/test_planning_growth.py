"""The bench counts planning's requests as a store would, and calculates those of large plans."""

from itertools import pairwise
from pathlib import Path

import pytest

from jobs.bench.counting_store import CountingStore
from jobs.bench.planning_growth import SCALE, SMALL, calculate_growth
from scanner.scan.plan.sizes import DEFAULT_SIZES


def test_every_operation_of_a_store_is_counted_with_its_bytes(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    store.write("a", b"12345")
    store.create("b", b"123")
    assert (store.requests, store.bytes_read, store.bytes_written) == (2, 0, 8)
    assert store.read("a") == b"12345"
    assert store.read_range("a", 1, 3) == b"23"
    assert store.names("") == ["a", "b"]
    assert store.exists("a")
    assert (store.requests, store.bytes_read) == (6, 7)
    with store.open("a") as file:
        file.seek(1)
        assert file.read(2) == b"23"
    (tmp_path / "c").write_bytes(b"1")
    store.upload(tmp_path / "c", "d")
    store.remove("b")
    assert (store.requests, store.bytes_read, store.bytes_written) == (10, 9, 9)


@pytest.mark.slow
def test_requests_grow_at_most_fivefold_with_four_times_the_rows() -> None:
    growth = calculate_growth()
    for small, large in pairwise(growth):
        assert large["rows"] == 4 * small["rows"]
        assert large["requests"] <= 5 * small["requests"]
        assert large["requests_with_images"] <= 5 * small["requests_with_images"]
        assert large["requests_with_images"] < 3 * large["requests"]
    (largest,) = [one for one in growth if one["rows"] == 2_000_000_000]
    assert (largest["parts"], largest["ranges"]) == (3815, 1908)
    assert largest["requests"] < 120_000, "28 million when each range read each part"
    assert largest["bytes_read_per_row"] < 60 * (1.1 + largest["levels_of_merging"])


@pytest.mark.slow
@pytest.mark.parametrize("start", [8, 36, 64, 92])
def test_requests_grow_as_little_from_every_start(start: int) -> None:
    for parts in range(start, start + 28):
        small, large = calculate_growth(
            rows=[count * DEFAULT_SIZES.chunk_rows for count in (parts, 4 * parts)]
        )
        assert large["requests"] <= 5 * small["requests"], parts


@pytest.mark.parametrize(
    "name", ["segment_rows", "unit_bytes", "chunk_rows", "staged_rows", "range_rows"]
)
def test_measured_plans_are_small_in_every_size(name: str) -> None:
    assert getattr(SMALL, name) * SCALE == getattr(DEFAULT_SIZES, name)
    assert SMALL.fan_in == DEFAULT_SIZES.fan_in
