"""Arrow arrays of every type, nested in one another, with values at the ends of their ranges."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from tests.fuzz.files import TEXT

UNITS = ("s", "ms", "us", "ns")
ZONES = (None, "UTC", "Europe/Paris", "+05:30", "Mars/Olympus", "")
_TEMPORAL = (
    *(pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES),
    *(pa.duration(unit) for unit in UNITS),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
)
_NUMBERS = (
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()),
    *(pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
)
_DECIMALS = (
    *(pa.decimal32(9, 2), pa.decimal64(18, -2), pa.decimal128(38, 37), pa.decimal128(38, 0)),
    *(pa.decimal128(20, -5), pa.decimal256(76, 10)),
)
_TEXT = (pa.string(), pa.large_string(), pa.string_view())
_VIEWS = (pa.string_view(), pa.binary_view())
_BYTES = (pa.binary(), pa.large_binary(), pa.binary_view())
DEPTH = 2
Arrays = st.SearchStrategy[pa.Array]


def _of_bits(kind: pa.DataType, nullable: list[int | None]) -> pa.Array:
    """Any bits as values of a type of a fixed width: any number, date or decimal it can hold."""
    width = kind.bit_width // 8
    words = [(one or 0) % 256**width for one in nullable]
    data = b"".join(word.to_bytes(width, "little") for word in words)
    return pa.Array.from_buffers(kind, len(nullable), [_validity(nullable), pa.py_buffer(data)])


def _validity(values: list) -> pa.Buffer:
    valid = np.array([one is not None for one in values], bool)
    return pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())


_BITS = st.none() | st.integers(0, 3) | st.integers(0, 2**64) | st.integers(0, 2**256 - 1)


def _fixed(rows: int) -> Arrays:
    kinds = st.sampled_from((*_TEMPORAL, *_NUMBERS, *_DECIMALS))
    values = st.lists(_BITS, min_size=rows, max_size=rows)
    return st.builds(_of_bits, kinds, values)


def _texts(rows: int) -> Arrays:
    text = st.lists(st.none() | TEXT, min_size=rows, max_size=rows)
    data = st.lists(st.none() | st.binary(max_size=20), min_size=rows, max_size=rows)
    return st.one_of(
        st.builds(pa.array, text, st.sampled_from(_TEXT)),
        st.builds(pa.array, data, st.sampled_from(_BYTES)),
        # Bytes taken for text, as a file can claim.
        st.builds(lambda values: pa.array(values, pa.binary()).view(pa.string()), data),
        st.builds(
            lambda values: pa.array(
                [None if one is None else one.ljust(20)[:3] for one in values], pa.binary(3)
            ),
            data,
        ),
    )


def _others(rows: int) -> Arrays:
    sixteen = st.lists(
        st.none() | st.binary(min_size=16, max_size=16), min_size=rows, max_size=rows
    )
    interval = st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 2, st.integers(-(2**63), 2**63 - 1))
    flags = st.lists(st.none() | st.booleans(), min_size=rows, max_size=rows)
    return st.one_of(
        st.just(pa.nulls(rows)),
        st.builds(pa.array, flags, st.just(pa.bool_())),
        st.builds(
            lambda values: pa.array(
                [one and pa.MonthDayNano(one) for one in values], pa.month_day_nano_interval()
            ),
            st.lists(st.none() | interval, min_size=rows, max_size=rows),
        ),
        st.builds(
            lambda values: pa.ExtensionArray.from_storage(
                pa.uuid(), pa.array(values, pa.binary(16))
            ),
            sixteen,
        ),
        st.builds(
            lambda values: pa.ExtensionArray.from_storage(pa.bool8(), pa.array(values, pa.int8())),
            st.lists(st.none() | st.integers(-128, 127), min_size=rows, max_size=rows),
        ),
        st.builds(
            lambda values: pa.ExtensionArray.from_storage(
                pa.json_(), pa.array(values, pa.string())
            ),
            st.lists(st.none() | TEXT, min_size=rows, max_size=rows),
        ),
    )


def plain_arrays(rows: int) -> Arrays:
    return st.one_of(_texts(rows), _fixed(rows), _others(rows))


@st.composite
def arrays(draw: st.DrawFn, rows: int, depth: int = DEPTH) -> pa.Array:
    """An array of this many rows: plain, encoded, or nested up to so many levels."""
    if not depth or draw(st.booleans()):
        found = draw(plain_arrays(rows))
    else:
        kinds = _NESTED if depth < DEPTH else (*_NESTED, *_OUTERMOST)
        found = draw(st.sampled_from(kinds))(draw, rows, depth - 1)
    found.validate()
    return found


def _lists(draw: st.DrawFn, rows: int, depth: int) -> pa.Array:
    lengths = draw(st.lists(st.none() | st.integers(0, 3), min_size=rows, max_size=rows))
    ends = np.cumsum([length or 0 for length in lengths]).tolist()
    child = draw(arrays(ends[-1] if ends else 0, depth))
    large = draw(st.booleans())
    kind = pa.large_list(child.type) if large else pa.list_(child.type)
    offsets = np.array([0, *ends], np.int64 if large else np.int32)
    buffers = [_validity(lengths), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(kind, rows, buffers, children=[child])


def _fixed_lists(draw: st.DrawFn, rows: int, depth: int) -> pa.Array:
    width = draw(st.integers(1, 2))  # Arrow cannot read what it wrote of width 0
    nulls = draw(st.lists(st.none() | st.just(1), min_size=rows, max_size=rows))
    child = draw(arrays(rows * width, depth))
    kind = pa.list_(child.type, width)
    return pa.Array.from_buffers(kind, rows, [_validity(nulls)], children=[child])


def _list_views(draw: st.DrawFn, rows: int, depth: int) -> pa.Array:
    child = draw(arrays(3, depth))
    spans = draw(st.lists(st.sampled_from(((0, 3), (2, 1), (1, 0), (1, 2))), min_size=rows,
                          max_size=rows))  # fmt: skip
    starts, sizes = [start for start, _ in spans], [size for _, size in spans]
    return pa.ListViewArray.from_arrays(
        pa.array(starts, pa.int32()), pa.array(sizes, pa.int32()), child
    )


def _structs(draw: st.DrawFn, rows: int, depth: int) -> pa.Array:
    names = draw(st.lists(TEXT, max_size=3))
    nulls = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    children = [draw(arrays(rows, depth)) for _ in names]
    fields = [pa.field(name, child.type) for name, child in zip(names, children, strict=True)]
    if not fields:
        return pa.array([None if null else {} for null in nulls], pa.struct([]))
    return pa.StructArray.from_arrays(children, fields=fields, mask=pa.array(nulls, pa.bool_()))


def _maps(draw: st.DrawFn, rows: int, depth: int) -> pa.Array:
    lengths = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    ends = np.cumsum([0, *lengths]).astype(np.int32)
    keys = draw(plain_arrays(int(ends[-1])))
    if keys.null_count or keys.type == pa.null():
        keys = pa.array(range(int(ends[-1])))
    return pa.MapArray.from_arrays(pa.array(ends), keys, draw(arrays(int(ends[-1]), depth)))


def _dictionaries(draw: st.DrawFn, rows: int, depth: int) -> pa.Array:
    # Arrow decodes no dictionaries of views, which are none in Parquet.
    values = draw(plain_arrays(3).filter(lambda values: values.type not in _VIEWS))
    at = draw(st.lists(st.none() | st.integers(0, 2), min_size=rows, max_size=rows))
    return pa.DictionaryArray.from_arrays(pa.array(at, pa.int8()), values)


def _run_ends(draw: st.DrawFn, rows: int, depth: int) -> pa.Array:
    ends = sorted({*draw(st.lists(st.integers(1, rows))), rows}) if rows else []
    # Arrow decodes runs of simple types alone, and Parquet files hold no runs.
    numbers = st.lists(_BITS, min_size=len(ends), max_size=len(ends))
    values = draw(st.builds(_of_bits, st.sampled_from(_NUMBERS), numbers))
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), values)


def _unions(draw: st.DrawFn, rows: int, depth: int) -> pa.Array:
    which = pa.array(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)), pa.int8())
    children = [draw(arrays(rows, depth)) for _ in range(2)]
    if draw(st.booleans()):
        return pa.UnionArray.from_sparse(which, children)
    return pa.UnionArray.from_dense(which, pa.array(range(rows), pa.int32()), children)


_NESTED: tuple[Callable[[st.DrawFn, int, int], pa.Array], ...] = (
    *(_lists, _fixed_lists, _list_views, _structs, _maps),
    _dictionaries,
)
# Parquet has neither, and Arrow aborts where a struct with a union inside is flattened.
_OUTERMOST = (_run_ends, _unions)


def columns() -> Arrays:
    """Columns of up to five rows."""
    return st.integers(0, 5).flatmap(arrays)
