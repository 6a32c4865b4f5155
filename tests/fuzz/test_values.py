"""Values of every Arrow type become text: the same for a row alone, in UTF-8, null only if null."""

import io
import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from scanner.captions.formats import UnreadableFile, inspect, read
from scanner.captions.text import text_of
from scanner.captions.values import captions
from scanner.errors import UserError
from tests.fuzz.arrays import columns
from tests.fuzz.conftest import Explore
from tests.fuzz.damage import damaged

Place = Callable[[str, bytes], str]

NESTED = (pa.types.is_list, pa.types.is_fixed_size_list, pa.types.is_struct, pa.types.is_map)


def _texts(values: pa.Array) -> list[str | None]:
    found = text_of(values)
    found.validate(full=True)
    assert (found.type, len(found)) == (pa.string(), len(values))
    return found.to_pylist()


def test_text_does_not_depend_on_neighbors(explore: Explore) -> None:
    def check(values: pa.Array) -> None:
        texts = _texts(values)
        alone = [_texts(values.slice(row, 1)) for row in range(len(values))]
        assert alone == [[text] for text in texts]
        assert _texts(values.slice(1)) == texts[1:]

    uuids = pa.struct([pa.field("id", pa.uuid())])
    explore(check, [{"values": pa.nulls(2, pa.list_(uuids))}], values=columns())


def test_nested_values_are_json(explore: Explore) -> None:
    def check(values: pa.Array) -> None:
        if any(is_kind(values.type) for is_kind in NESTED):
            for text in _texts(values):
                assert text is None or json.loads(text) is not None

    explore(check, values=columns())


def test_a_caption_is_text_or_a_reason(explore: Explore) -> None:
    def check(values: pa.Array) -> None:
        texts, reasons = captions(values)
        texts.validate(full=True)
        assert len(texts) == len(values)
        missing = [row for row, text in enumerate(texts.to_pylist()) if text is None]
        assert missing == sorted(reasons)
        for row, reason in reasons.items():
            assert captions(values.slice(row, 1))[1] == {0: reason}

    explore(check, values=columns())


def test_a_parquet_column_is_read_the_same_in_batches(explore: Explore, place: Place) -> None:
    def check(values: pa.Array) -> None:
        sink = io.BytesIO()
        try:
            pq.write_table(pa.table([values], ["caption"]), sink, row_group_size=2)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, OSError):
            return  # of a type or a value that Parquet does not have, such as a negative scale
        url = place("a.parquet", sink.getvalue())
        whole = _column(url)
        assert _column(url, 1) == whole
        assert len(whole) == len(values)

    explore(check, values=columns())


def _column(url: str, batch_rows: int | None = None) -> list[str | None]:
    batches = read(url, ["caption"], batch_rows=batch_rows)
    return [text for batch in batches for text in _texts(batch.columns["caption"])]


def test_damaged_parquet_is_refused_or_read(explore: Explore, place: Place) -> None:
    def check(data: bytes) -> None:
        url = place("a.parquet", data)
        try:
            inspect(url)
            _column(url)
        except (UserError, UnreadableFile):
            pass

    explore(check, data=damaged(st.builds(_parquet, columns()) | st.just(b"PAR1PAR1")))


def _parquet(values: pa.Array) -> bytes:
    sink = io.BytesIO()
    try:
        pq.write_table(pa.table([values], ["caption"]), sink)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return b"PAR1"
    return sink.getvalue()
