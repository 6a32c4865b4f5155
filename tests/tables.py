"""Random rows in every format, written and read by other means than the product's."""

import csv
import gzip
import io
import json
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, str | None]
FORMATS = (
    *("a.parquet", "a.csv", "a.csv.gz", "quoted.tsv", "minimal.tsv", "plain.tsv"),
    *("a.jsonl", "a.jsonl.gz", "a.tar", "a.tar.gz", "a.tgz", "a.csv.zst", "a.jsonl.zst"),
)
PIECES = [
    "a cat",
    '"',
    '""',
    ",",
    ";",
    "日本",
    '27" screen',
    "é",
    "'",
    "\\",
    "#",
    " ",
    "{",
    "x" * 300,
]
BREAKS = ["\n", "\t", "\r\n", "\n\n"]


def random_rows(seed: int, rows: int, name: str) -> list[Row]:
    """Rows of key, caption and url; those of a plain tsv without tabs and line breaks."""
    chosen = random.Random(seed)
    found: list[Row] = []
    for number in range(rows):
        # In a tsv, tabs and line breaks in one caption may well be rows that a quote took in.
        breaks = [] if name == "plain.tsv" else [chosen.choice(BREAKS)]
        pieces = chosen.choices(PIECES + breaks * 4, k=chosen.randrange(6))
        caption, url = f"c{number}" + "".join(pieces), f"https://h.example/{number}"
        found.append({"key": f"{number:05d}", "caption": caption, "url": url})
    return found


def write_table(path: Path, rows: list[Row]) -> None:
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=13)
        return
    if _is_tar(path):
        data = _tar(rows)
    elif ".jsonl" in path.name:
        # Spark leaves out what is null.
        kept = [{name: one for name, one in row.items() if one is not None} for row in rows]
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept).encode()
    else:
        data = _text(path, rows).encode()
    path.write_bytes(_packed(path, data))


def read_table(path: Path) -> list[Row]:
    if path.name.endswith(".parquet"):
        return pq.read_table(path).to_pylist()
    data = _unpacked(path)
    if _is_tar(path):
        return _read_tar(data)
    text = data.decode()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in text.split("\n") if line]
    if path.name == "plain.tsv":
        header, *lines = [line.split("\t") for line in text.split("\n") if line]
        return [dict(zip(header, line, strict=True)) for line in lines]
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(path)))


def _is_tar(path: Path) -> bool:
    return ".tar" in path.name or path.suffix == ".tgz"


def _packed(path: Path, data: bytes) -> bytes:
    if path.suffix == ".zst":
        return pa.compress(data, "zstd", asbytes=True)
    return gzip.compress(data) if path.suffix in (".gz", ".tgz") else data


def _unpacked(path: Path) -> bytes:
    if path.suffix == ".zst":
        with pa.CompressedInputStream(str(path), "zstd") as file:
            return file.read()
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix in (".gz", ".tgz") else data


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.name else ","


def _text(path: Path, rows: list[Row]) -> str:
    if path.name == "plain.tsv":
        lines = [list(rows[0]), *([one or "" for one in row.values()] for row in rows)]
        return "".join("\t".join(line) + "\n" for line in lines)
    sink = io.StringIO()
    quoting = csv.QUOTE_ALL if path.name == "quoted.tsv" else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(sink, list(rows[0]), delimiter=_delimiter(path), quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def _tar(rows: list[Row]) -> bytes:
    """Samples with an image each, captions in json or txt by turns, and what macOS adds."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        _add(tar, "README.md", b"about")
        for number, row in enumerate(rows):
            _add(tar, f"._{row['key']}.jpg", b"mac")
            _add(tar, f"{row['key']}.jpg", b"\xff" * (number % 700))
            record = {"url": row["url"], "caption": None if number % 2 else row["caption"]}
            _add(tar, f"{row['key']}.json", json.dumps(record).encode())
            if number % 2:
                _add(tar, f"{row['key']}.txt", str(row["caption"]).encode())
    return sink.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _read_tar(data: bytes) -> list[Row]:
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            key, _, ending = member.name.partition(".")
            file = tar.extractfile(member)
            if key and key != "README" and file:
                samples.setdefault(key, {})[ending] = file.read()
    rows: list[Row] = []
    for key, files in samples.items():
        assert "jpg" in files, f"{key} has lost its image"
        record = json.loads(files["json"])
        caption = record["caption"] or files["txt"].decode()
        rows.append({"key": key, "caption": caption, "url": record["url"]})
    return rows
