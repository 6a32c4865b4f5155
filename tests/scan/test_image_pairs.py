"""Pairs of images and captions, from samples."""

import hashlib

import pyarrow as pa

from scanner.run.schema import samples_schema
from scanner.scan.plan.image_pairs import PAIRS, REPEATS, merge_pairs, merge_repeats, pairs_of


def _samples(*rows: tuple[str | None, str, bool]) -> pa.Table:
    names = ("image_key", "caption_id", "is_reference")
    known = [dict(zip(names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(
        [{"source": "a", "row": 0, **row} for row in known], samples_schema([])
    )


def _id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def test_equal_samples_are_one_pair_with_their_number() -> None:
    rows = [("u", "b", False), ("v", "a", False), ("u", "a", False), ("u", "b", False)]
    found = [tuple(row.values()) for row in pairs_of(_samples(*rows)).to_pylist()]
    assert found == sorted([(_id("u"), "a", 1), (_id("u"), "b", 2), (_id("v"), "a", 1)])


def test_null_and_empty_keys_are_no_image() -> None:
    rows = [(None, "a", False), ("", "a", False), (" ", "a", False)]
    assert pairs_of(_samples(*rows))["image_id"].to_pylist() == [_id(" ")]
    assert pairs_of(_samples()).schema == PAIRS
    assert len(pairs_of(_samples((None, "a", False)))) == 0


def test_reference_captions_are_in_no_pair() -> None:
    found = pairs_of(_samples(("u", "a", True), ("u", "b", False))).to_pylist()
    assert [(row["caption_id"], row["n"]) for row in found] == [("b", 1)]


def test_captions_of_earlier_plans_are_not_named() -> None:
    rows = [("u", "a", False), ("u", "b", False), ("v", "a", False)]
    found = pairs_of(_samples(*rows), is_earlier=True).to_pylist()
    expected = sorted([(_id("u"), None, 2), (_id("v"), None, 1)])
    assert [tuple(row.values()) for row in found] == expected


def test_any_text_is_a_key() -> None:
    keys = ["x" * (1 << 20), "'; DROP TABLE staged; --", "a\x00b", "<b>", "ü\u202e\U0001f600", "\n"]
    found = pairs_of(_samples(*((key, "a", False) for key in keys)))
    assert sorted(found["image_id"].to_pylist()) == sorted(map(_id, keys))
    assert found.nbytes < 1000, "hashes, not keys"


def test_merged_pairs_add_up_and_repeats_keep_the_largest() -> None:
    pairs = [pa.table([["i", "i"], ["a", None], [n, 5]], schema=PAIRS) for n in (1, 2)]
    assert merge_pairs(pairs).to_pydict() == {
        "image_id": ["i", "i"], "caption_id": ["a", None], "n": [3, 10],
    }  # fmt: skip
    assert pairs == [], "released"
    repeats = [pa.table([["b", "a"], [n, 3]], schema=REPEATS) for n in (7, 2)]
    assert merge_repeats(repeats).to_pydict() == {"caption_id": ["a", "b"], "n": [3, 7]}
