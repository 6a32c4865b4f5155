import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.batch import Extent
from scanner.captions.formats import ENDINGS, UnreadableFile, inspect, read
from scanner.captions.values import as_text
from scanner.errors import UserError
from scanner.storage import StoreOutage

ROWS = [
    {"caption": "a cat, sitting", "key": "1"},
    {"caption": 'said "no"\nand left', "key": "2"},
    {"caption": "日本", "key": "3"},
]


def _csv(rows: list[dict], separator: str = ",") -> str:
    lines = [separator.join(rows[0])]
    for row in rows:
        lines.append(separator.join('"' + str(v).replace('"', '""') + '"' for v in row.values()))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "name", ["a.csv", "semicolons.csv", "a.tsv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet"]
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in ROWS)
        if "jsonl" not in name:
            separators = {"a.tsv": "\t", "semicolons.csv": ";"}
            text = _csv(ROWS, separators.get(name, ","))
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert inspect(str(path)).columns == ["caption", "key"]
    (batch,) = read(str(path), ["caption", "key"])
    assert list(batch.rows) == [0, 1, 2]
    values = {name: list(map(str, values)) for name, values in batch.columns.items()}
    assert values == {name: [row[name] for row in ROWS] for name in ("caption", "key")}
    assert batch.bad == []


def test_bad_rows_are_told_apart_and_keep_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption,key\na,1\nb\nc,2,3\nd,4\n")
    (batch,) = read(str(tmp_path / "a.csv"), ["caption"])
    assert batch.rows == [0, 3]
    assert [row for row, _ in batch.bad] == [1, 2]
    assert "1 fields where the header has 2" in batch.bad[0][1]

    (tmp_path / "b.jsonl").write_text('{"caption": "a"}\n{broken\n[1]\n{"other": 1}\n')
    (batch,) = read(str(tmp_path / "b.jsonl"), ["caption"])
    assert batch.columns["caption"] == ["a", None]
    assert [reason for _, reason in batch.bad] == [
        "bad row: not JSON",
        "bad row: not a JSON object",
    ]


def test_bytes_that_are_no_utf8_do_not_stop_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"caption\ncaf\xe9\nplain\n")
    (batch,) = read(str(tmp_path / "a.csv"), ["caption"])
    assert batch.columns["caption"] == ["caf\udce9", "plain"]  # which planning rejects


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfcaption\nx\n")
    assert inspect(str(tmp_path / "a.csv")).columns == ["caption"]


def test_a_damaged_file_gives_what_can_be_read_and_then_says_so(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f'{{"caption": "{i}"}}\n' for i in range(50_000)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    batches = read(str(tmp_path / "a.jsonl.gz"), ["caption"])
    assert len(next(batches).rows) == 8192
    with pytest.raises(UnreadableFile, match="EOFError"):
        list(batches)

    (tmp_path / "b.parquet").write_bytes(b"PAR1 no footer")
    with pytest.raises(UserError, match="cannot be read"):
        inspect(str(tmp_path / "b.parquet"))


def test_damaged_compression_and_parquet_do_not_stop_planning(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"caption\n" + bytes(range(65, 91)) * 5000))
    data[20:60] = bytes(40)
    (tmp_path / "a.csv.gz").write_bytes(data)
    with pytest.raises(UserError, match="cannot be read"):
        inspect(str(tmp_path / "a.csv.gz"))
    with pytest.raises(UnreadableFile):
        list(read(str(tmp_path / "a.csv.gz"), ["caption"]))
    twice = pa.table([["x"], ["u"], ["v"]], names=["caption", "url", "url"])
    pq.write_table(twice, tmp_path / "b.parquet")
    (batch,) = read(str(tmp_path / "b.parquet"), ["caption", "url"])
    assert batch.columns == {"caption": pa.array(["x"]), "url": pa.array(["u"])}


def test_a_bad_first_line_of_jsonl_is_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{broken\n{"caption": "x"}\n')
    assert inspect(str(tmp_path / "a.jsonl")).columns == ["caption"]
    (batch,) = read(str(tmp_path / "a.jsonl"), ["caption"])
    assert (batch.rows, [row for row, _ in batch.bad]) == ([1], [0])


def test_batches_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("caption\n" + "".join(f"c{i}\n" for i in range(20_000)))
    sizes = [len(batch.rows) for batch in read(str(path), ["caption"])]
    assert max(sizes) <= 8192
    assert sum(sizes) == 20_000


def test_an_extent_of_a_parquet_file_keeps_the_rows_numbers(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"caption": list("abcdefg")}), path, row_group_size=2)
    assert inspect(path).row_groups == (2, 2, 2, 1)
    (batch,) = read(path, ["caption"], Extent(1, 3, 2))
    assert list(batch.rows) == [2, 3, 4, 5]
    assert batch.columns["caption"].to_pylist() == ["c", "d", "e", "f"]


def test_names_come_from_the_first_thousand_objects(tmp_path: Path) -> None:
    rows: list[dict] = [{"id": 0}, *({"id": k, "caption": "c"} for k in range(1, 998))]
    rows += [{"url": "u"}, {"late": 1}, {"later": 1}]
    text = "{broken\n\n" + "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(text)
    contents = inspect(str(tmp_path / "a.jsonl"))
    assert (contents.columns, contents.is_open) == (["id", "caption", "url"], True)
    batch = next(read(str(tmp_path / "a.jsonl"), ["caption", "later", "nowhere"]))
    assert batch.columns["caption"][:2] == [None, "c"]
    assert batch.columns["later"][-2:] == [None, 1]
    assert set(batch.columns["nowhere"]) == {None}


def test_damage_behind_the_first_names_is_met_by_reading_alone(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f'{{"caption": "{i}"}}\n' for i in range(900)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    assert inspect(str(tmp_path / "a.jsonl.gz")).columns == ["caption"]
    with pytest.raises(UnreadableFile, match="EOFError"):
        list(read(str(tmp_path / "a.jsonl.gz"), ["caption"]))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *((f"a{ending}", b"") for ending in ENDINGS),
        ("a.csv", b"\n\r\n"),
        ("a.csv", b"\xef\xbb\xbf"),
        ("a.jsonl", b"\n  \n"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0)),
        ("a.tar", bytes(10240)),
        ("a.tar.gz", gzip.compress(bytes(10240), mtime=0)),
    ],
)
def test_a_file_of_nothing_has_no_columns_and_no_rows(
    tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    contents = inspect(str(tmp_path / name))
    assert (contents.columns, contents.is_open) == ([], False)
    assert list(read(str(tmp_path / name), ["caption"])) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("ending", ["txt", "csv", "tsv", "jsonl"])
def test_utf_16_text_is_refused(tmp_path: Path, ending: str, encoding: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes('{"caption": "a kite"}\n'.encode(encoding))
    with pytest.raises(UserError, match="it is UTF-16 text; save it as UTF-8"):
        inspect(str(path))


def test_a_jsonl_of_bad_lines_has_no_columns_but_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{broken\n[1]\n")
    contents = inspect(str(tmp_path / "a.jsonl"))
    assert (contents.columns, contents.is_open) == ([], True)
    (batch,) = read(str(tmp_path / "a.jsonl"), [])
    assert [row for row, _ in batch.bad] == [0, 1]


def test_a_csv_that_lacks_a_wanted_column_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption\na\n")
    with pytest.raises(UnreadableFile, match="no column url"):
        list(read(str(tmp_path / "a.csv"), ["url"]))


def test_int96_timestamps_after_2262_are_read_as_they_are(tmp_path: Path) -> None:
    times = pa.table({"t": pa.array([253402214400, None], pa.timestamp("s"))})
    pq.write_table(times, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    (batch,) = read(str(tmp_path / "a.parquet"), ["t"])
    assert as_text(batch.columns["t"]).to_pylist() == ["9999-12-31 00:00:00.000000", None]


def test_a_store_that_does_not_answer_says_nothing_of_the_file(monkeypatch) -> None:
    def fails(*args: object, **options: object) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr("scanner.captions.parquet.open_input", fails)
    with pytest.raises(StoreOutage, match="TimeoutError: no answer"):
        list(read("a.parquet", ["caption"]))
    with pytest.raises(StoreOutage, match="TimeoutError: no answer"):
        inspect("a.parquet", retry_seconds=0)


def test_error_for_an_unknown_ending_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"a.xls: \.xls: not one of \.parquet, \.csv, "):
        inspect("a.xls")


@pytest.mark.parametrize("ending", [".txt", ".txt.gz", ".txt.zst"])
def test_a_text_file_has_one_caption_per_line(ending: str, tmp_path: Path) -> None:
    lines = "a cat\n\n  \r\n日本 \u2028 dog\r\nlast".encode()
    path = tmp_path / f"a{ending}"
    packed = {".txt.gz": gzip.compress, ".txt.zst": lambda data: pa.compress(data, "zstd", True)}
    path.write_bytes(b"\xef\xbb\xbf" + lines if ending == ".txt" else packed[ending](lines))
    assert inspect(str(path)).columns == ["caption"]
    (batch,) = read(str(path), ["caption"])
    assert batch.columns["caption"] == ["a cat", "日本 \u2028 dog", "last"]


@pytest.mark.parametrize("name", ["a.csv.zst", "a.tsv.zst", "a.jsonl.zst", "a.ndjson.zst"])
def test_files_packed_by_zstandard_are_read(name: str, tmp_path: Path) -> None:
    text = '{"caption": "a cat"}\n' if "json" in name else "caption\na cat\n"
    half = len(text) // 2
    # Several frames, as parallel tools write them.
    frames = [pa.compress(part.encode(), "zstd", True) for part in (text[:half], text[half:])]
    (tmp_path / name).write_bytes(b"".join(frames))
    (batch,) = read(str(tmp_path / name), ["caption"])
    assert list(batch.columns["caption"]) == ["a cat"]
    (tmp_path / name).write_bytes(frames[0] + frames[1][:-2])
    with pytest.raises(UnreadableFile):
        list(read(str(tmp_path / name), ["caption"]))
