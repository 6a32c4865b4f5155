import pyarrow as pa
import pytest

from scanner.captions.values import as_text, captions, first_valid

BROKEN = pa.array([b"good", b"caf\xe9", None]).view(pa.string())


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", None]),
        pa.array(["a", None], pa.large_string()),
        pa.array(["a", None], pa.string_view()),
        pa.array([b"a", None]),
        pa.array([b"a", None], pa.large_binary()),
        pa.array([b"a", None], pa.binary_view()),
        pa.array(["a", None]).dictionary_encode(),
        ["a", None],
    ],
    ids=lambda values: str(getattr(values, "type", "list")),
)
def test_text_of_any_kind_is_a_caption(values) -> None:
    texts, reasons = captions(values)
    assert (texts.to_pylist(), reasons) == (["a", None], {1: "null caption"})
    assert as_text(values).to_pylist() == ["a", None]


@pytest.mark.parametrize(
    "values",
    [
        BROKEN,
        BROKEN.cast(pa.large_string()),
        BROKEN.cast(pa.binary()).cast(pa.binary_view()).view(pa.string_view()),
        BROKEN.view(pa.binary()),
        BROKEN.view(pa.binary()).cast(pa.binary_view()),
        pa.array([b"good", b"caf\xe9", None]).dictionary_encode(),
        ["good", "caf\udce9", None],
        [b"good", b"caf\xe9", None],
    ],
    ids=[
        "string",
        "large_string",
        "string_view",
        "binary",
        "binary_view",
        "dictionary",
        "text",
        "bytes",
    ],
)
def test_what_is_no_utf8_costs_its_own_value_only(values) -> None:
    texts, reasons = captions(values)
    assert texts.to_pylist() == ["good", None, None]
    assert reasons[1].startswith("caption is not UTF-8")
    assert (reasons[2], len(reasons)) == ("null caption", 2)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (pa.array([1, None]), "int64"),
        (pa.array([["a"], None]), "list<item: string>"),
        (pa.array([1.0, None]).dictionary_encode(), "double"),
        ([1, None], "number"),
        ([True, None], "boolean"),
        ([["a"], None], "array"),
        ([{"a": 1}, None], "object"),
    ],
)
def test_a_caption_of_another_type_is_named_by_its_type(values, name: str) -> None:
    assert captions(values)[1] == {0: f"caption must be text, got {name}", 1: "null caption"}


def test_one_bad_value_of_json_costs_one_row() -> None:
    texts, reasons = captions(["a", 7, "b"])
    assert (texts.to_pylist(), list(reasons)) == (["a", None, "b"], [1])


def test_null_captions_come_from_the_other_column() -> None:
    assert first_valid(["a", None, None], ["x", "y", None]) == ["a", "y", None]
    mixed = first_valid(pa.array(["a", None]), pa.array(["x", "y"]))
    assert mixed.to_pylist() == ["a", "y"]
