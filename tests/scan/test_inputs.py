from scanner.captions.batch import Extent
from scanner.captions.columns import Columns
from scanner.scan.plan.inputs import FrozenInputs, Input, Segment, pack_units
from scanner.scan.plan.sizes import PlanSizes

COLUMNS = Columns("caption", None, None, ("url",), quoting="needed", fallback="txt")


def _file(name: str, size: int = 1, row_groups: tuple[int, ...] = ()) -> Input:
    return Input(name, False, COLUMNS, "", size, row_groups)


def _names(inputs: list[Input]) -> list[list[str]]:
    return [[segment.url for segment in unit.segments] for unit in pack_units(inputs)]


def test_small_files_share_a_unit_up_to_its_size_and_number() -> None:
    mb = 1 << 20
    sizes = {"a": 30, "b": 30, "c": 30, "large": 500, "d": 1}
    assert _names([_file(name, size * mb) for name, size in sizes.items()]) == [
        ["a", "b"], ["c"], ["large"], ["d"],
    ]  # fmt: skip
    assert [len(names) for names in _names([_file(str(i)) for i in range(130)])] == [64, 64, 2]


def test_a_long_parquet_file_is_cut_between_row_groups() -> None:
    files = [_file("a", 30, (4, 4, 4, 15, 1, 2)), _file("b", 1, (5, 5))]
    (unit,) = pack_units(files, PlanSizes(segment_rows=10))
    assert [(segment.url, segment.extent) for segment in unit.segments] == [
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
    frozen = FrozenInputs(("url",), pack_units(inputs))
    assert [unit.id for unit in frozen.units] == ["000000", "000001"]
    assert frozen.units[1].segments[1] == Segment("b", True, None, None, "ValueError: damaged")
    assert FrozenInputs.from_json("inputs.json", frozen.to_json()) == frozen
