"""Every Arrow type becomes text, whatever its values are."""

import datetime
import decimal
import uuid

import pyarrow as pa
import pytest

from scanner.captions.values import as_text

ID = uuid.UUID(int=7)
NESTED = [
    {"a": [{"b": [1.0, None], "t": 'q"'}], "when": datetime.datetime(2020, 1, 1)},
    None,
    {"a": [], "when": None},
]
CASES = [
    (pa.array([1581282014547.0, 0.5, None, -3.0]), ["1581282014547", "0.5", None, "-3"]),
    (pa.array([-0.0, float("nan"), float("inf")]), ["0", "nan", "inf"]),
    (pa.array([2.0**53, 1e18, 1e300]), ["9007199254740992", "1000000000000000000", "1e+300"]),
    (pa.array([7.0, 0.1], pa.float32()), ["7", "0.1"]),
    (pa.array([7.0, 0.5]).cast(pa.float16()), ["7", "0.5"]),
    (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    (pa.array([True, None]), ["true", None]),
    (pa.array([1], pa.timestamp("ns")), ["1970-01-01 00:00:00.000000001"]),
    (pa.array([0, 2**60], pa.timestamp("s")),
     ["1970-01-01 00:00:00", "<value out of range: 1152921504606846976>"]),
    (pa.array([0, None], pa.timestamp("s", "Mars/Olympus")), ["1970-01-01 00:00:00Z", None]),
    (pa.array([0], pa.timestamp("s", "+05:30")), ["1970-01-01 05:30:00+0530"]),
    (pa.array([5], pa.time32("s")), ["00:00:05"]),
    (pa.array([86399999999999], pa.time64("ns")), ["23:59:59.999999999"]),
    (pa.array([5], pa.duration("ns")), ["5"]),
    (pa.array([pa.MonthDayNano([1, 2, 3]), None]), ["1 months 2 days 3 ns", None]),
    (pa.array([0, 2**31 - 1], pa.date32()), ["1970-01-01", "<value out of range: 2147483647>"]),
    (pa.array([decimal.Decimal("1.50")]), ["1.50"]),
    (pa.nulls(2), [None, None]),
    (pa.array([b"ab", b"\xff\x00", None], pa.binary(2)), ["ab", "ff00", None]),
    (pa.array([b"k", b"\xff\x00"]), ["k", "ff00"]),
    (pa.array([ID.bytes, None], pa.uuid()), [str(ID), None]),
    (pa.array([1.0, None]).dictionary_encode(), ["1", None]),
    (pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array(["x", None])),
     ["x", None]),
    (pa.array([[1, None], None, []]), ["[1, null]", None, "[]"]),
    (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), ["[1, 2]", None]),
    (pa.array([["a"], None], pa.large_list_view(pa.string())), ['["a"]', None]),
    (pa.array([[("k", [1])], None, []], pa.map_(pa.string(), pa.list_(pa.int8()))),
     ['{"k": [1]}', None, "{}"]),
    (pa.array([[b"\xff"]]), ['["ff"]']),
    (pa.array([{}, None], pa.struct([])), ["{}", None]),
    (pa.array(NESTED),
     ['{"a": [{"b": [1, null], "t": "q\\""}], "when": "2020-01-01 00:00:00.000000"}', None,
      '{"a": [], "when": null}']),
]  # fmt: skip


@pytest.mark.parametrize(("values", "texts"), CASES, ids=lambda one: str(getattr(one, "type", "")))
def test_values_of_every_type_are_text(values: pa.Array, texts: list[str | None]) -> None:
    assert as_text(values).to_pylist() == texts
    assert as_text(values.slice(1)).to_pylist() == texts[1:]
    assert as_text(values.slice(0, 0)).to_pylist() == []


def test_values_of_json_are_text_by_the_same_rules() -> None:
    values = [1581282014547.0, 2**70, True, {"a": [1]}, 1e-7, None, "k\udce9", "\ud800", b"\xff"]
    assert as_text(values).to_pylist() == [
        "1581282014547", str(2**70), "true", '{"a": [1]}', "1e-7", None, "6be9", "?", "ff",
    ]  # fmt: skip


def test_numbers_are_the_same_text_in_json_and_arrow() -> None:
    numbers = [0.1, 1 / 3, 12345.678, 1e16, 1e17 + 2, 5e-324, -2.5e20, 123456789012345680.0]
    assert as_text(numbers).to_pylist() == as_text(pa.array(numbers)).to_pylist()


def test_list_views_of_uuids_become_json() -> None:
    ids = pa.array([bytes(15) + b"\x01"], pa.binary(16))
    values = pa.ExtensionArray.from_storage(pa.uuid(), ids)
    for sizes, texts in (
        ([1, 0], ['["00000000-0000-0000-0000-000000000001"]', "[]"]),
        ([0], ["[]"]),
    ):
        lists = pa.ListViewArray.from_arrays([0] * len(sizes), sizes, values)
        assert as_text(lists).to_pylist() == texts
