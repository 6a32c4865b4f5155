"""Images whose hashes and colors agree share a cluster; others do not, however many there are."""

import random

import pyarrow as pa
import pytest

from scanner.query.image_clusters import near_duplicate_images

GREY = [128.0] * 48
RED = [255.0, 0.0, 0.0] * 16


def clusters(hashes: list[int], colors: list[list[float]] | None = None) -> list[str]:
    table = pa.table(
        {
            "image": [f"{number:05}" for number in range(len(hashes))],
            "hash": pa.array(hashes, pa.uint64()),
            "colors": pa.array(colors or [GREY] * len(hashes), pa.list_(pa.float32())),
        }
    )
    return near_duplicate_images(table, 6)["cluster"].to_pylist()


def flipped(value: int, bits: int, choose: random.Random) -> int:
    for bit in choose.sample(range(64), bits):
        value ^= 1 << bit
    return value


def test_copies_within_the_distance_are_found() -> None:
    """1,000 random hashes, each with a copy that differs in 0 to 6 bits."""
    choose = random.Random(0)
    originals = [choose.getrandbits(64) for _ in range(1000)]
    copies = [flipped(one, number % 7, choose) for number, one in enumerate(originals)]
    found = clusters(originals + copies)
    together = [found[number] == found[number + 1000] for number in range(1000)]
    assert sum(together) >= 995
    assert len(set(found)) == 2000 - sum(together)


def test_equal_hashes_of_other_colors_are_apart() -> None:
    a, b, c = clusters([7, 7, 7], [GREY, RED, GREY])
    assert a == c != b


def test_a_chain_of_images_is_cut() -> None:
    """Each differs from the next in 4 bits, and the ends in all."""
    chain = [(1 << 4 * number) - 1 for number in range(17)]
    found = clusters(chain)
    members = {name: [n for n, one in enumerate(found) if one == name] for name in set(found)}
    assert max(map(len, members.values())) <= 5
    for name, numbers in members.items():
        assert all((chain[int(name)] ^ chain[n]).bit_count() <= 9 for n in numbers)


@pytest.mark.slow
def test_one_bucket_of_everything_stays_linear() -> None:
    """20,000 images in two bits' reach of each other: one cluster at most per center's reach."""
    choose = random.Random(1)
    found = clusters([flipped(0, 2, choose) for _ in range(20_000)])
    assert len(set(found)) <= 5


def test_no_image_is_a_cluster_of_none() -> None:
    assert clusters([]) == []
