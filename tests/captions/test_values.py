import pyarrow as pa
import pytest

from scanner.captions.values import as_text, captions

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
    assert reasons == {1: "caption is not valid Unicode", 2: "null caption"}


def test_what_is_no_text_is_no_caption_but_a_key() -> None:
    assert captions(pa.array([1]))[1] == {0: "caption is no text but int"}
    assert captions(pa.array([["a"]]))[1] == {0: "caption is no text but list"}
    assert as_text(pa.array([1, None], pa.int16())).to_pylist() == ["1", None]
    assert as_text(pa.array([1.0, 0.5])).to_pylist() == ["1.0", "0.5"]
    assert as_text(pa.array([b"k", b"\xff\x00"])).to_pylist() == ["k", "ff00"]
    assert as_text(["k\udce9", True]).to_pylist() == ["k?", "True"]
