from dataclasses import replace

import pytest

from scanner.run.compaction import GroupSizes, arrange
from tests.run.planned import ROWS, slices_of

SIZES = GroupSizes(rows=3 * ROWS, min_slices=4)
SLICES = slices_of(8)
DONE = {item.id: 0 for item in SLICES}


def test_consecutive_slices_form_groups_up_to_a_size() -> None:
    layout = arrange(SLICES, DONE, {}, SIZES)
    assert [group.id for group in layout.pending] == [
        "000000-000002",
        "000003-000005",
        "000006-000007",
    ]
    assert [item.id for item in layout.single] == list(DONE)
    assert layout.merged == ()
    assert layout.pending[0].rows == 3 * ROWS


@pytest.mark.parametrize("number", [1, 3])
def test_few_slices_are_not_merged(number: int) -> None:
    assert arrange(SLICES[:number], DONE, {}, SIZES).pending == ()


def test_slices_as_large_as_a_group_are_not_merged() -> None:
    assert arrange(SLICES, DONE, {}, replace(SIZES, rows=ROWS)).pending == ()


def test_caption_ids_ascend_within_a_group() -> None:
    first, second, third, fourth = slices_of(4, per_file=1)
    layout = arrange((third, fourth, first, second), DONE, {}, SIZES)
    assert [group.id for group in layout.pending] == ["000002-000003", "000000-000001"]


def test_a_group_without_one_of_its_slices_is_not_merged() -> None:
    done = {name: 0 for name in DONE if name != "000001"}
    layout = arrange(SLICES, done, {}, SIZES)
    assert [group.id for group in layout.pending] == ["000003-000005", "000006-000007"]
    assert "000001" not in {item.id for item in layout.single}


def test_a_slice_scored_again_needs_another_merge() -> None:
    first = arrange(SLICES, DONE, {}, SIZES).pending[0]
    merged = {first.id: first.generation}
    assert arrange(SLICES, DONE, merged, SIZES).merged == (first,)
    layout = arrange(SLICES, {**DONE, "000001": 1}, merged, SIZES)
    assert layout.merged == ()
    assert layout.pending[0].generation == first.generation + 1


def test_groups_stay_when_a_run_grows_and_sizes_change() -> None:
    merged = {group.id: group.generation for group in arrange(SLICES, DONE, {}, SIZES).pending}
    more = (*SLICES, *slices_of(5, first=8))
    done = {item.id: 0 for item in more}
    layout = arrange(more, done, merged, GroupSizes(rows=5 * ROWS, min_slices=100))
    assert [group.id for group in layout.merged] == list(merged)
    assert layout.pending == ()
    layout = arrange(more, done, merged, GroupSizes(rows=5 * ROWS, min_slices=2))
    assert [group.id for group in layout.merged] == list(merged)
    assert [group.id for group in layout.pending] == ["000008-000012"]


def test_foreign_names_of_groups_move_no_slice() -> None:
    names = {"000001-9": 1, "000002-000001": 9, "x": 1, "-": 1, "000005-000007": 1}
    layout = arrange(SLICES, DONE, names, SIZES)
    assert [item.id for item in layout.single] == list(DONE)
    assert layout.merged == ()


def test_a_newer_merge_makes_a_layout_outdated() -> None:
    layout = arrange(SLICES, DONE, {}, SIZES)
    merged = {group.id: group.generation for group in layout.pending}
    assert layout.is_current({})
    assert not layout.is_current(merged)
    later = arrange(SLICES, DONE, merged, SIZES)
    assert later.is_current(merged)
    again = arrange(SLICES, {**DONE, "000000": 1}, merged, SIZES)
    assert again.is_current(merged)  # the older merge of a slice that was scored again
    assert not again.is_current({**merged, "000000-000002": 4})
