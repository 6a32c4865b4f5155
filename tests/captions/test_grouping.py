import pyarrow as pa

from scanner.captions.grouping import group

COLUMNS = ("caption_id", "caption", "canonical", "is_reference", "n")


def _group(rows: list[tuple], earlier: tuple[str, ...] = (), cutoff: str | None = None) -> list:
    table = pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in rows])
    known = pa.table({"caption_id": pa.array(earlier, pa.string())})
    found = group(table.to_reader(), known.to_reader(), cutoff, 2)
    return [tuple(row.values())[:4] for batch in found for row in batch.to_pylist()]


def test_the_commonest_then_the_smallest_spelling_is_shown() -> None:
    rows = [
        ("b", "B x", "b x", False, 1),
        ("a", "a", "a", True, 2),
        ("b", "b X", "b x", False, 1),
        ("a", "A", "a", True, 2),
        ("b", "b X", "b x", True, 1),
        ("c", "C", "c", False, 2),
        ("c", "c", "c", False, 3),
    ]
    assert _group(rows) == [
        ("a", "A", "a", True),
        ("b", "b X", "b x", False),
        ("c", "c", "c", False),
    ]


def test_the_cutoff_excludes_all_but_reference_captions() -> None:
    rows = [(f"{i:03}", f"c{i}", f"c{i}", i > 97, 1) for i in range(99, -1, -1)]
    found = _group(rows, cutoff="002")
    assert [row[0] for row in found] == ["000", "001", "002", "098", "099"]


def test_earlier_captions_are_left_out() -> None:
    rows = [(letter, letter, letter, False, 1) for letter in "abc"]
    assert [row[0] for row in _group(rows, earlier=("b", "d"))] == ["a", "c"]
