"""Copies without some rows: same format, and unchanged remaining bytes."""

import gzip
import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.formats import read
from scanner.curation.copies.cleaning import write_clean

CSV = (
    b"\xef\xbb\xbfkey,caption\r\n"
    b'k0,"a, ""quoted"" cat"\r\n'
    b"\r\n"
    b'k1,"two\r\nlines"\r\n'
    b"k2,caf\xe9 in latin-1\r\n"
    b"k3,one field,too many\r\n"
    b"k4,last without an end"
)
JSONL = b'{"caption": "a"}\n\n{broken\n{"caption":   "spaces  kept"}\r\n{"caption": "\xff"}\n  \n'


def clean(tmp_path: Path, name: str, data: bytes, removed: set[int]) -> bytes:
    (tmp_path / "in").mkdir(exist_ok=True)
    source, target = tmp_path / "in" / name, tmp_path / name
    source.write_bytes(data)
    write_clean(source, target, removed)
    return target.read_bytes()


def rows_of(path: Path, column: str) -> list[tuple]:
    """Good rows' values and bad rows' reasons, in order of the rows."""
    found: list[tuple] = []
    for batch in read(str(path), [column]):
        values = batch.columns[column]
        found += [(row, values[at]) for at, row in enumerate(batch.rows)]
        found += batch.bad
    return [value for _, value in sorted(found, key=lambda pair: pair[0])]


@pytest.mark.parametrize(
    ("removed", "gone"),
    [
        (set(), b""),
        ({0}, b'k0,"a, ""quoted"" cat"\r\n'),
        ({1}, b'\r\nk1,"two\r\nlines"\r\n'),
        ({2, 3}, b"k2,caf\xe9 in latin-1\r\nk3,one field,too many\r\n"),
        ({4}, b"k4,last without an end"),
    ],
)
def test_csv_keeps_quotes_line_ends_bytes_and_bad_rows(
    tmp_path: Path, removed: set[int], gone: bytes
) -> None:
    assert clean(tmp_path, "a.csv", CSV, removed) == CSV.replace(gone, b"", 1)


def test_semicolons_stay_between_fields(tmp_path: Path) -> None:
    data = b'key;caption\na;"one; two, three"\nb;four\n'
    assert clean(tmp_path, "a.csv", data, {0}) == b"key;caption\nb;four\n"


def test_tsv_without_any_row_keeps_its_header(tmp_path: Path) -> None:
    data = b"caption\turl\na\tu\nb\tv\n"
    assert clean(tmp_path, "a.tsv", data, {0, 1}) == b"caption\turl\n"


def test_jsonl_counts_bad_lines_and_not_blank_lines(tmp_path: Path) -> None:
    assert clean(tmp_path, "a.jsonl", JSONL, set()) == JSONL
    expected = JSONL.replace(b"\n{broken\n", b"").replace(b'{"caption": "\xff"}\n', b"")
    assert clean(tmp_path, "a.jsonl", JSONL, {1, 3}) == expected


def test_list_elements_keep_the_names_of_older_writers(tmp_path: Path) -> None:
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table = pa.table({"caption": ["a", "b"], "tags": pa.array([["x"], ["y"]])})
    pq.write_table(table, source, use_compliant_nested_type=False)
    write_clean(source, target, {0})
    assert pq.read_metadata(target).schema.equals(pq.read_metadata(source).schema)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_gzip_is_read_and_written_reproducibly(tmp_path: Path, name: str) -> None:
    data = CSV if "csv" in name else JSONL
    first = clean(tmp_path, name, gzip.compress(data, mtime=1), {0})
    assert first == clean(tmp_path, name, gzip.compress(data, mtime=2), {0})
    plain = clean(tmp_path, name.removesuffix(".gz"), data, {0})
    assert gzip.decompress(first) == plain


def test_parquet_keeps_metadata_row_groups_and_compression(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            pa.field("caption", pa.large_string(), metadata={"about": "text"}),
            pa.field("size", pa.list_(pa.field("side", pa.int16(), nullable=False))),
            pa.field("when", pa.timestamp("ns", "UTC")),
            pa.field("image", pa.dictionary(pa.int8(), pa.binary())),
        ],
        metadata={"made by": "a test"},
    )
    rows = [
        {"caption": f"c{k}", "size": [k, k], "when": k, "image": b"x" * (k % 2)} for k in range(10)
    ]
    table = pa.Table.from_pylist(rows, schema)
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(
        table,
        source,
        row_group_size=4,
        compression={
            "caption": "zstd",
            "size.list.element": "snappy",
            "when": "none",
            "image": "gzip",
        },
        use_dictionary=["image"],
        version="2.6",
    )
    write_clean(source, target, {1, 4, 5, 6, 7, 9})
    kept = pq.read_table(source).take([0, 2, 3, 8])
    assert pq.read_schema(target).equals(kept.schema, check_metadata=True)
    assert pq.read_table(target).equals(kept)
    there, made = pq.read_metadata(source), pq.read_metadata(target)
    assert made.schema.equals(there.schema)
    assert [made.row_group(k).num_rows for k in range(made.num_row_groups)] == [3, 1]
    for column in range(4):
        was, now = there.row_group(0).column(column), made.row_group(0).column(column)
        assert (was.compression, was.has_dictionary_page, was.physical_type) == (
            now.compression,
            now.has_dictionary_page,
            now.physical_type,
        )
    again = tmp_path / "again.parquet"
    write_clean(source, again, {1, 4, 5, 6, 7, 9})
    assert again.read_bytes() == target.read_bytes()
    write_clean(source, again, set(range(10)))
    assert pq.read_table(again).equals(table.slice(0, 0))


def test_parquet_of_other_writers_keeps_their_options(tmp_path: Path) -> None:
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table = pa.table({"t": pa.array([1, 2], pa.timestamp("ns")), "caption": ["a", "b"]})
    pq.write_table(table, source, store_schema=False, use_deprecated_int96_timestamps=True)
    write_clean(source, target, {0})
    assert pq.read_metadata(target).metadata == pq.read_metadata(source).metadata
    assert pq.read_metadata(target).row_group(0).column(0).physical_type == "INT96"
    assert pq.read_table(target)["t"].cast(pa.int64()).to_pylist() == [2]


def tar_of(form: int) -> bytes:
    """Three samples; long names and non-ASCII ones need headers of their own."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        folder = tarfile.TarInfo("d")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for key in ("0", "ü" * 120, "2"):
            for ending, data in (("jpg", b"\xff" * 700), ("txt", f"caption {key}".encode())):
                info = tarfile.TarInfo(f"d/{key}.{ending}")
                info.size, info.mtime, info.uname = len(data), 12345, "someone"
                tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def members(data: bytes) -> list[tuple]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [
            (m.name, m.mtime, m.uname, file.read() if (file := tar.extractfile(m)) else None)
            for m in tar
        ]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_loses_whole_samples_and_no_other_byte(tmp_path: Path, form: int) -> None:
    data = tar_of(form)
    assert clean(tmp_path, "a.tar", data, set()) == data
    for number, gone in enumerate(("0.", "üü", "2.")):
        left = members(clean(tmp_path, "a.tar", data, {number}))
        assert left == [m for m in members(data) if not m[0].startswith(f"d/{gone}")]
        assert len(left) == 5


def test_a_gzipped_tar_stays_gzipped(tmp_path: Path) -> None:
    data = tar_of(tarfile.PAX_FORMAT)
    packed = clean(tmp_path, "a.tar.gz", gzip.compress(data), {1})
    assert gzip.decompress(packed) == clean(tmp_path, "a.tar", data, {1})


def test_every_format_counts_rows_as_the_scan_does(tmp_path: Path) -> None:
    tar = tar_of(tarfile.GNU_FORMAT)
    for name, data, column in (
        ("a.csv", CSV, "caption"), ("a.jsonl", JSONL, "caption"), ("a.tar", tar, "txt"),
    ):  # fmt: skip
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
        before = rows_of(tmp_path / "in" / name, column)
        for row in range(len(before)):
            clean(tmp_path, name, data, {row})
            left = [str(value).split(" (lines")[0] for value in rows_of(tmp_path / name, column)]
            expected = [str(v).split(" (lines")[0] for k, v in enumerate(before) if k != row]
            assert left == expected, f"{name}, row {row}"
