import pytest

from scanner.captions.batch import Extent
from scanner.captions.columns import Columns
from scanner.scan.plan import inputs
from scanner.scan.plan.inputs import Input, Piece, Reading, cut

COLUMNS = Columns("caption", None, None, ("url",), quoting="needed", fallback="txt")


def _file(name: str, size: int = 1, row_groups: tuple[int, ...] = ()) -> Input:
    return Input(name, False, COLUMNS, "", size, row_groups)


def _names(inputs: list[Input]) -> list[list[str]]:
    return [[piece.url for piece in unit.pieces] for unit in cut(inputs)]


def test_small_files_share_a_unit_up_to_its_size_and_number() -> None:
    mb = 1 << 20
    sizes = {"a": 30, "b": 30, "c": 30, "large": 500, "d": 1}
    assert _names([_file(name, size * mb) for name, size in sizes.items()]) == [
        ["a", "b"], ["c"], ["large"], ["d"],
    ]  # fmt: skip
    assert [len(names) for names in _names([_file(str(i)) for i in range(130)])] == [64, 64, 2]


def test_a_long_parquet_file_is_cut_between_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "PIECE_ROWS", 10)
    (unit,) = cut([_file("a", 30, (4, 4, 4, 15, 1, 2)), _file("b", 1, (5, 5))])
    assert [(piece.url, piece.extent) for piece in unit.pieces] == [
        ("a", Extent(0, 2, 0)),
        ("a", Extent(2, 3, 8)),
        ("a", Extent(3, 4, 12)),
        ("a", Extent(4, 6, 27)),
        ("b", None),
    ]


def test_units_are_numbered_and_survive_json() -> None:
    inputs = [
        _file("a", 70 << 20, (1 << 20, 1 << 20)),
        Input("b", True, None, "ValueError: damaged"),
    ]
    reading = Reading(("url",), cut(inputs))
    assert [unit.id for unit in reading.units] == ["000000", "000001"]
    assert reading.units[1].pieces[1] == Piece("b", True, None, None, "ValueError: damaged")
    assert Reading.from_json("inputs.json", reading.to_json()) == reading
