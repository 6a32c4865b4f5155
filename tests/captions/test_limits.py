"""Hostile files end as counted rejects in bounded memory; the good rows around them are kept."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.caption_list import read_caption_list
from scanner.captions.formats import read
from scanner.captions.limits import (
    CAPTION_BYTES,
    JSON_DEPTH,
    LINE_CHARACTERS,
    PAGE_BYTES,
    TAR_HEADER_BYTES,
)
from scanner.captions.parquet_pages import pages_of
from scanner.errors import UserError
from scanner.run import Plan
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.storage import Store

MEBIBYTE = b"a" * (1 << 20)
PEAK_MIB = 280
# Growth when planning distinct captions of 1 MiB, grouping included: at most 1 GiB.
LONG_PEAK_MIB = 1024


def same() -> object:
    return str.strip


def plan(run: Path, *captions: Path, keep: tuple[str, ...] | None = None) -> tuple[Plan, Counter]:
    config = ScanConfig(captions=tuple(map(str, captions)), keep=keep)
    made = make_plan(choose_inputs(config), Store(str(run)), same, lambda rows: 99)  # type: ignore[arg-type]
    rows = [row for name in made.rejects for row in pq.read_table(run / name).to_pylist()]
    return made, Counter(row["reason"] for row in rows)


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def write(path: Path, captions: list[str]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"caption": captions}), path)
    elif path.suffix == ".tar":
        path.write_bytes(tar_of([(f"{n}.txt", one.encode()) for n, one in enumerate(captions)]))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"caption": one}) + "\n" for one in captions))
    else:
        head = (
            ""
            if path.suffix == ".txt"
            else "caption\tx\n"
            if path.suffix == ".tsv"
            else "caption\n"
        )
        end = "\t1\n" if path.suffix == ".tsv" else "\n"
        path.write_text(head + "".join(one + end for one in captions))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "txt", "tar", "parquet"])
def test_the_limit_of_a_caption_is_the_same_in_every_format(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    most = "é" * (CAPTION_BYTES // 2)
    write(path, ["good", most, "e" + most, "b" * (CAPTION_BYTES + 1), "after"])
    made, reasons = plan(tmp_path / "run", path)
    assert made.counts["samples"] == 3
    assert reasons == {"caption over 1 MiB": 2}


def test_a_list_with_a_caption_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.list"
    path.write_bytes(b"good\n" + MEBIBYTE + b"\n")
    assert len(read_caption_list(str(path), "--captions", ["caption"])[1]) == 2
    path.write_bytes(b"good\n" + MEBIBYTE + b"a\n")
    with pytest.raises(UserError, match="line 2: caption over 1 MiB"):
        read_caption_list(str(path), "--captions", ["caption"])


@pytest.mark.parametrize(
    ("name", "head", "tail"),
    [
        ("a.jsonl", b'{"caption": "good"}\n{"caption": "', b'"}\n{"caption": "after"}\n'),
        ("a.csv", b"caption\ngood\n", b"\nafter\n"),
        ("a.csv", b'caption\ngood\n"', b'"\nafter\n'),
        ("a.tsv", b"caption\tx\ngood\t1\n", b"\t1\nafter\t1\n"),
        ("a.txt", b"good\n", b"\nafter\n"),
    ],
)
def test_a_line_over_the_limit_is_one_reject(
    name: str, head: bytes, tail: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(head + b"a" * (LINE_CHARACTERS + 5) + tail)
    made, reasons = plan(tmp_path / "run", tmp_path / name)
    assert (made.counts["samples"], made.counts["rejects"]) == (2, 1)
    assert f"a line of more than {LINE_CHARACTERS} characters" in next(iter(reasons))


def test_json_nested_too_deep_is_one_reject(tmp_path: Path) -> None:
    rows = [f'{{"caption": "{n}", "url": {"[" * n}{"]" * n}}}' for n in (1, 63, 64, 900, 100_000)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    made, reasons = plan(tmp_path / "run", tmp_path / "a.jsonl")
    assert made.counts["samples"] == 2
    assert reasons[f"bad row: JSON nested more than {JSON_DEPTH} deep"] == 2


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("first", [True, False])
def test_a_tar_header_over_the_limit_costs_one_row(
    kind: bytes, first: bool, tmp_path: Path
) -> None:
    header = tarfile.TarInfo("x")
    header.size, header.type = TAR_HEADER_BYTES + 1, kind
    data = header.tobuf(tarfile.GNU_FORMAT) + bytes(header.size - 1 + 512)
    good = b"" if first else tar_of([("0.txt", b"good")])[:1024]
    (tmp_path / "a.tar").write_bytes(
        good + data + tar_of([("1.txt", b"lost"), ("2.txt", b"after")])
    )
    (batch,) = read(str(tmp_path / "a.tar"), ["txt"])
    assert batch.columns["txt"] == (["after"] if first else ["good", "after"])
    assert batch.bad == [(1 - first, f"bad row: headers of more than {TAR_HEADER_BYTES} bytes")]


def varint(value: int) -> bytes:
    """Encode an integer as Thrift's compact protocol does."""
    sevens = [(2 * value >> shift) & 127 for shift in range(0, (2 * value).bit_length(), 7)]
    return bytes([*(part | 128 for part in sevens[:-1]), sevens[-1]])


def test_a_page_over_the_limit_costs_its_row_group(tmp_path: Path) -> None:
    """The header of a small page declares a large one; the page loses its last bytes to it."""
    path = tmp_path / "a.parquet"
    table = pa.table({"caption": ["a", "b", "long " * 1000, "c", "d"]})
    pq.write_table(
        table, path, row_group_size=1, use_dictionary=False, compression="none",
        write_statistics=False,
    )  # fmt: skip
    column = pq.read_metadata(path).row_group(2).column(0)
    start, end = column.data_page_offset, column.data_page_offset + column.total_compressed_size
    file = path.read_bytes()
    kind = b"\x15\x00\x15"  # field 1, a data page; field 2 is its size
    before = kind + varint(4 + 5000 + 6)
    assert file[start:end].startswith(before), file[start : start + 12]
    page = kind + varint(PAGE_BYTES + 1) + file[start + len(before) : end]
    path.write_bytes(file[:start] + page[: end - start] + file[end:])
    made, reasons = plan(tmp_path / "run", path)
    assert made.counts["samples"] == 4
    assert list(reasons.values()) == [1]
    assert f"column caption: a page of {PAGE_BYTES + 1} bytes, more than" in next(iter(reasons))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_pages_are_read_as_their_writer_wrote_them(
    version: str, codec: str, tmp_path: Path
) -> None:
    values = [None if n % 7 == 0 else "x" * (n % 5) + str(n % 50) for n in range(5000)]
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"caption": values}), path, compression=codec, data_page_version=version,
        data_page_size=1000, write_page_index=True,
    )  # fmt: skip
    with path.open("rb") as file:
        chunk = pq.ParquetFile(file).metadata.row_group(0).column(0)
        pages = pages_of(file, chunk, 0)
    assert (pages.values, pages.longest, pages.all_refer) == (5000, 6, True)
    texts = [one for batch in read(str(path), ["caption"]) for one in batch.columns["caption"]]
    assert [one.as_py() for one in texts] == values


def bombs(folder: Path) -> None:
    """Small files that unpack to far more than PEAK_MIB, each with two good rows."""
    for name, head, tail in (
        ("a.jsonl.gz", b'{"caption": "g1"}\n{"caption": "', b'"}\n{"caption": "a1"}\n'),
        ("b.csv.gz", b'caption\ng2\n"', b'"\na2\n'),
    ):
        with gzip.open(folder / name, "wb", 1) as file:
            file.write(head)
            for _ in range(300):
                file.write(MEBIBYTE)
            file.write(tail)
    header = tarfile.TarInfo("x")
    header.size, header.type = 300 << 20, tarfile.XHDTYPE
    with gzip.open(folder / "c.tar.gz", "wb", 1) as file:
        file.write(tar_of([("0.txt", b"g3")])[:1024] + header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(300):
            file.write(MEBIBYTE)
        file.write(tar_of([("1.txt", b"lost"), ("2.txt", b"a3")]))
    places = pa.array([1, *[0] * 3000, 2], pa.int32())
    text = pa.DictionaryArray.from_arrays(places, pa.array(["b" * (1 << 20), "g4", "a4"]))
    pq.write_table(pa.table({"caption": text}), folder / "d.parquet", compression="zstd")
    kept = pa.DictionaryArray.from_arrays(places, pa.array([b"\xff" * (8 << 20), b"u", b"v"]))
    captions = ["g5", *(f"c{n}" for n in range(3000)), "a5"]
    pq.write_table(
        pa.table({"caption": captions, "url": kept}), folder / "e.parquet", compression="zstd"
    )
    shared = pa.table({"caption": ["g6", *["c" * (1 << 20)] * 200, "a6"]})
    pq.write_table(
        shared, folder / "f.parquet", compression="zstd", use_dictionary=False,
        column_encoding={"caption": "DELTA_BYTE_ARRAY"},
    )  # fmt: skip


def measured_apart(folder: Path) -> dict[str, int]:
    """Plan a folder in a process of its own, so that its peak is not that of earlier tests.

    With the system's allocator, which returns memory at once, and few arenas: others return it late
    on a busy machine.
    """
    code = "import sys, pathlib; from tests.captions.test_limits import measured; "
    command = [sys.executable, "-c", code + "measured(pathlib.Path(sys.argv[1]))", str(folder)]
    environ = {name: one for name, one in os.environ.items() if not name.startswith("MALLOC_")}
    environ |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stdout
    return json.loads(said.splitlines()[-1])


def peak_mib() -> int:
    """Return the largest resident size of this process; ru_maxrss begins with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def measured(folder: Path) -> None:
    """Plan a folder in this process and print the growth of its peak in MiB, and the counts."""
    before = peak_mib()
    made, _ = plan(folder / "run", folder / "data")
    print(json.dumps({"grown": peak_mib() - before, **made.counts}))


@pytest.mark.slow
def test_bombs_are_rejects_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    bombs(tmp_path / "data")
    found = measured_apart(tmp_path)
    assert found["grown"] < PEAK_MIB, found
    assert (found["rejects"], found["captions"]) == (3 + 3000 + 3000, 13)


@pytest.mark.slow
def test_many_long_captions_are_planned_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data/a.jsonl.gz", "wb", 1) as file:
        for number in range(300):
            file.write(b'{"caption": "%d %s"}\n' % (number, MEBIBYTE[8:]))
    found = measured_apart(tmp_path)
    assert found["grown"] < LONG_PEAK_MIB, found
    assert (found["rejects"], found["captions"]) == (0, 300)
