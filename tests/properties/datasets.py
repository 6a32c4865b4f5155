"""Random data sets in every format at once, with what a scan has to find in them.

Everything is written and expected by means of its own, so that it can disagree with the product.
"""

import csv
import gzip
import io
import json
import os
import random
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LOUD = "loud"
PIECES = ("a cat", "日本", "é", '"', "''", '27" screen', ",", ";", "#", "{", "\\", "x" * 200, LOUD)
NAMES = ("plain", "a b", "[1]", "a::b", "é", "%41", "what?", "it's", "-x")
FOLDERS = ("", "sub", "source=laion", "d[0]", "p=1/q=2")
HIDDEN = ("_SUCCESS", "._x.parquet", "_temporary/0/x.csv", ".ipynb_checkpoints/x.jsonl")


@dataclass
class Row:
    """A row as it stands in its file: ``raw`` bytes, or the members of a tar.

    caption: what a scan reads, None where the row is a reject. key, url: as text.
    """

    raw: bytes | dict[str, bytes]
    caption: str | None
    key: str | None = None
    url: str | None = None


@dataclass
class File:
    """One input file: what stands before its rows, the rows, and how they become bytes."""

    path: Path
    rows: list[Row]
    head: bytes = b""
    pack: Callable[[bytes], bytes] = bytes
    table: pa.Table | None = None
    is_tar: bool = False


@dataclass
class Dataset:
    folder: Path
    files: list[File] = field(default_factory=list)
    skipped: int = 0


def make_dataset(folder: Path, seed: int) -> Dataset:
    """Write a file or two of each format under odd names, and what has to be skipped."""
    chosen = random.Random(seed)
    found = Dataset(folder)
    names = iter(_names(chosen))
    for make, ending, pack in FORMATS:
        for _ in range(chosen.randrange(1, 3)):
            path = folder / chosen.choice(FOLDERS) / (next(names) + ending)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = make(chosen, path, chosen.choice((0, 1, 7, 40)))
            file.pack = pack
            write(file, path, set())
            found.files.append(file)
    for name in HIDDEN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("caption\nhidden\n")
    (folder / "notes.md").write_text("about")
    os.mkfifo(folder / "pipe.csv")
    (folder / "again.csv").symlink_to(next(f.path for f in found.files if f.path.suffix == ".csv"))
    # A link may be listed before the file itself; one of the two is skipped.
    found.skipped = len(HIDDEN) + 3
    return found


def write(file: File, path: Path, removed: set[int]) -> None:
    """Write a file without some of its rows."""
    kept = [row for number, row in enumerate(file.rows) if number not in removed]
    if file.table is not None:
        rows = file.table.to_pylist()
        left = [row for number, row in enumerate(rows) if number not in removed]
        pq.write_table(pa.Table.from_pylist(left, file.table.schema), path)
        return
    if file.is_tar:
        path.write_bytes(file.pack(_tar(kept)))
        return
    path.write_bytes(file.pack(file.head + b"".join(bytes(row.raw) for row in kept)))


def _names(chosen: random.Random) -> Iterator[str]:
    number = 0
    while True:
        yield f"{number:02d} {chosen.choice(NAMES)}"
        number += 1


def _caption(chosen: random.Random, apart: str = "") -> str:
    """One of few captions, so that many are the same; ``apart``: characters it may not have."""
    pieces = [piece for piece in PIECES if not set(piece) & set(apart)]
    text = " ".join(chosen.choices(pieces, k=chosen.randrange(1, 3)))
    return chosen.choice(("", " ")) + text


def _url(path: Path, number: int) -> str:
    return f"https://h.example/{path.name.encode().hex()}/{number}"


def _csv(chosen: random.Random, path: Path, count: int) -> File:
    delimiter = "\t" if ".tsv" in path.name else chosen.choice(",;")
    ending = chosen.choice(("\n", "\r\n"))
    # Without tabs, line breaks and quotes in pairs, a tsv's quotes are plain characters.
    apart = '\t\n"' if delimiter == "\t" else ""
    rows = []
    for number in range(count):
        caption, key, url = (
            _caption(chosen, apart),
            str(chosen.randrange(10**15)),
            _url(path, number),
        )
        if delimiter != "\t" and chosen.random() < 0.2:
            caption += "\nmore"
        if chosen.random() < 0.1:
            rows.append(Row(delimiter.join("abcdefg").encode() + ending.encode(), None))
        elif chosen.random() < 0.1:
            rows.append(Row(_line(["", key, url], delimiter, ending), None, key, url))
        else:
            rows.append(Row(_line([caption, key, url], delimiter, ending), caption, key, url))
    return File(path, rows, _line(["caption", "id", "url"], delimiter, ending))


def _line(fields: list[str], delimiter: str, ending: str) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter, lineterminator=ending).writerow(fields)
    return sink.getvalue().encode()


def _jsonl(chosen: random.Random, path: Path, count: int) -> File:
    rows = []
    # Names come from the first objects, so that one at least has them all.
    for number in range(count):
        caption, url = _caption(chosen), _url(path, number)
        key = chosen.choice((number, float(number), str(number), 2**60 + number))
        record = {"text": caption, "id": key, "url": url}
        kind = chosen.random() if number else 1
        if kind < 0.1:
            rows.append(Row(b"{oops\n", None))
            continue
        wrong = chosen.choice((None, 7, ["x"])) if kind < 0.2 else caption
        record["text"] = wrong
        lost = kind > 0.8 and number
        if lost:
            del record["url"]
        record = {name: one for name, one in record.items() if one is not None}
        text = str(int(key)) if isinstance(key, float) else str(key)
        raw = json.dumps(record, ensure_ascii=chosen.random() < 0.5).encode() + b"\n"
        caption_read = caption if wrong is caption else None
        rows.append(Row(raw, caption_read, text, None if lost else url))
    return File(path, rows)


def _text(chosen: random.Random, path: Path, count: int) -> File:
    captions = [_caption(chosen) for _ in range(count)]
    return File(path, [Row(f"{caption}\n".encode(), caption) for caption in captions])


def _parquet(chosen: random.Random, path: Path, count: int) -> File:
    captions = [None if chosen.random() < 0.1 else _caption(chosen) for _ in range(count)]
    keys, texts = _keys(chosen, count)
    urls = [None if chosen.random() < 0.1 else _url(path, number) for number in range(count)]
    kind = chosen.choice((pa.string(), pa.large_string(), pa.binary(), pa.string_view()))
    stored = [one and one.encode() for one in captions] if kind == pa.binary() else captions
    columns = {"TEXT": pa.array(stored, kind), "ID": keys, "extra": pa.nulls(count)}
    has_urls = chosen.random() < 0.7
    if has_urls:
        columns["URL"] = pa.array(urls, pa.string()).dictionary_encode()
    rows = [
        Row(b"", caption, text, url if has_urls else None)
        for caption, text, url in zip(captions, texts, urls, strict=True)
    ]
    return File(path, rows, table=pa.table(columns))


def _keys(chosen: random.Random, count: int) -> tuple[pa.Array, list[str | None]]:
    """Keys of some type, and as text."""
    numbers = [chosen.randrange(10**12) for _ in range(count)]
    kind = chosen.choice(("int", "double", "decimal", "text", "date", "null"))
    if kind == "int":
        return pa.array(numbers, pa.uint64()), list(map(str, numbers))
    if kind == "double":
        return pa.array(numbers, pa.float64()), list(map(str, numbers))
    if kind == "decimal":
        values = [Decimal(number) / 4 for number in numbers]
        return pa.array(values, pa.decimal128(20, 2)), [f"{value:.2f}" for value in values]
    if kind == "date":
        return pa.array([0] * count, pa.date32()), ["1970-01-01"] * count
    if kind == "null":
        return pa.nulls(count), [None] * count
    return pa.array(list(map(str, numbers)), pa.string()), list(map(str, numbers))


def _samples(chosen: random.Random, path: Path, count: int) -> File:
    rows = []
    for number in range(count):
        caption, key, url = _caption(chosen), f"{number:05d}", _url(path, number)
        members = {f"{key}.jpg": chosen.randbytes(chosen.randrange(2000))}
        kind = chosen.random() if number else 1
        if kind < 0.3:
            record = {"caption": None, "url": url}
            members[f"{key}.txt"] = caption.encode()
        else:
            record = {"caption": caption, "url": url}
        if 0.3 < kind < 0.4:
            rows.append(Row(members, None))  # neither text
            continue
        members[f"{key}.json"] = json.dumps(record).encode()
        rows.append(Row(members, caption, key, url))
    return File(path, rows, is_tar=True)


def _tar(rows: list[Row]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for row in rows:
            assert isinstance(row.raw, dict)
            for name, data in row.raw.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


FORMATS = (
    *((_csv, ending, pack) for ending, pack in ((".csv", bytes), (".csv.gz", _gzip))),
    *((_csv, ending, pack) for ending, pack in ((".tsv", bytes), (".tsv.zst", _zstd))),
    *((_jsonl, ending, pack) for ending, pack in ((".jsonl", bytes), (".ndjson.gz", _gzip))),
    (_jsonl, ".jsonl.zst", _zstd),
    (_parquet, ".parquet", bytes),
    *((_samples, ending, pack) for ending, pack in ((".tar", bytes), (".tgz", _gzip))),
    (_text, ".txt", bytes),
)
