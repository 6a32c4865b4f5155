"""How often images of captions are repeated, against a plain count."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.captions.grouping import LEAST_SAMPLES, group
from scanner.captions.image_repeats import count_repeats

PAIRS = pa.schema([("image_id", pa.string()), ("caption_id", pa.string()), ("n", pa.int64())])
REPEATS = pa.schema([("caption_id", pa.string()), ("n", pa.int64())])
Pair = tuple[str, str | None, int]
CAPTIONS = st.one_of(st.none(), st.sampled_from("abcdefg"))
LISTS = st.lists(st.tuples(st.sampled_from("123456"), CAPTIONS, st.integers(1, 60)), max_size=40)


def _count(pairs: list[Pair], cutoff: str | None = None, **options) -> dict[str, int]:
    rows = [dict(zip(PAIRS.names, pair, strict=True)) for pair in pairs]
    reader = pa.Table.from_pylist(rows, schema=PAIRS).to_reader(max_chunksize=7)
    options = {"rows": 1 << 12, **options}
    found = [row for batch in count_repeats(reader, cutoff, **options) for row in batch.to_pylist()]
    ids = [row["caption_id"] for row in found]
    assert ids == sorted(set(ids))
    return {row["caption_id"]: row["n"] for row in found}


def _plainly(pairs: list[Pair]) -> dict[str, int]:
    images, found = Counter[str](), dict[str, int]()
    for image, _, n in pairs:
        images[image] += n
    for image, caption, _ in pairs:
        if caption is not None and images[image] > 1:
            found[caption] = max(found.get(caption, 0), images[image])
    return found


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(LISTS, st.one_of(st.none(), st.sampled_from("adg")))
def test_the_most_repeated_image_of_a_caption_counts(pairs: list[Pair], cutoff: str | None) -> None:
    expected = {name: n for name, n in _plainly(pairs).items() if not cutoff or name <= cutoff}
    assert _count(pairs, cutoff) == expected


def test_an_image_of_one_sample_is_not_repeated() -> None:
    assert _count([("1", "a", 1), ("2", "a", 1)]) == {}
    assert _count([("1", "a", 1), ("1", None, 1)]) == {"a": 2}, "one of an earlier plan"


@pytest.mark.slow
def test_one_image_of_all_samples_takes_little_memory() -> None:
    """The pairs are 24 times as large as the memory."""
    count = 1_500_000
    ids = pa.array([f"{number:032x}" for number in range(count)])
    one = pa.repeat(pa.scalar("0" * 32), count)
    pairs = pa.table([one, ids, pa.repeat(pa.scalar(1, pa.int64()), count)], schema=PAIRS)
    assert pairs.nbytes > 100 << 20
    found = pa.Table.from_batches(
        count_repeats(pairs.to_reader(1 << 16), None, 1 << 19, memory="60MB")
    )
    assert found["n"].unique().to_pylist() == [count]
    assert found["caption_id"].combine_chunks().equals(ids)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(2, 300)))
@pytest.mark.slow
def test_the_larger_number_decides_on_the_tier(repeats: dict[str, int]) -> None:
    samples = {"a": 1, "b": 2, "c": 5, "d": 50, "e": 500}
    rows = [
        {"caption_id": name, "caption": name, "canonical": name, "is_reference": n > 400, "n": n}
        for name, n in samples.items()
    ]
    table = pa.table([[*repeats], [*repeats.values()]], schema=REPEATS)
    found = group(
        pa.Table.from_pylist(rows).to_reader(),
        pa.table({"caption_id": pa.array([], pa.string())}).to_reader(),
        None,
        100,
        by_samples=True,
        repeats=table.to_reader(),
    )
    tiers = {row["caption_id"]: row["tier"] for batch in found for row in batch.to_pylist()}
    priors = {name: max(n, repeats.get(name, 0)) for name, n in samples.items()}
    expected = {
        name: 1 + sum(prior < least for least in LEAST_SAMPLES) for name, prior in priors.items()
    }
    assert tiers == {**expected, "e": 0}, "reference captions stay first"
