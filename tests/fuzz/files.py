"""Input files of every format, whole and damaged, small enough for thousands of them."""

import csv
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.damage import PACKS, TOKENS, damaged

# Characters that some parser, terminal or tokenizer treats specially, beside all of Unicode.
ODD = (
    "\"',;\t\n\r\\ \x00\x1a\x1c\x85\u00a0\u2028\u202e\ufeff\ufffe\U0001f600\ufb01é日\u0301{}[]:#.%/"
)
# All that UTF-8 can spell.
TEXT = st.text(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), max_size=20)
LINES = st.text(
    st.sampled_from([c for c in ODD if c not in "\r\n"])
    | st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"),
    max_size=20,
)
# Python's JSON spells lone surrogates too.
ANY_TEXT = TEXT | st.text(max_size=9)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = ("caption", "key", "url", "text", "Caption", "", "id", "a b", "{}", "caption_id")


@dataclass(frozen=True)
class File:
    """A file's name, which says its format, and its bytes."""

    name: str
    data: bytes


@st.composite
def csv_bytes(draw: st.DrawFn) -> bytes:
    """Rows by a writer of some dialect, with a caption column more often than not."""
    delimiter = draw(st.sampled_from(",;\t"))
    header = draw(st.sampled_from((["caption", "key"], ["caption"], ["key", "text", "url"])))
    width = st.just(len(header)) | st.integers(0, 4)
    rows = draw(st.lists(width.flatmap(lambda n: st.lists(TEXT, min_size=n, max_size=n))))
    sink = io.StringIO()
    writer = csv.writer(
        sink,
        delimiter=delimiter,
        quoting=draw(st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))),
        lineterminator=draw(st.sampled_from(("\n", "\r\n", "\r"))),
    )
    writer.writerows([header, *rows])
    return draw(st.sampled_from((b"", b"\xef\xbb\xbf", b"\n"))) + sink.getvalue().encode()


@st.composite
def quote_soup(draw: st.DrawFn) -> bytes:
    """Lines of what csv gives a meaning, and little else."""
    pieces = st.sampled_from((*TOKENS[:9], b"a", b"b c", b'"a', b'a"', b'"a,b"', b'""'))
    head = draw(st.sampled_from((b"caption,key\n", b"caption\tkey\n", b'"caption"\n', b"")))
    return head + b"".join(draw(st.lists(pieces, max_size=40)))


@st.composite
def jsonl_bytes(draw: st.DrawFn) -> bytes:
    record = st.dictionaries(st.sampled_from(NAMES) | ANY_TEXT, JSON, max_size=4)
    captioned = st.fixed_dictionaries({"caption": ANY_TEXT}, optional={"key": JSON, "url": JSON})
    ascii_only = draw(st.booleans())
    lines = [
        json.dumps(one, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        for one in draw(st.lists(captioned | record | JSON, max_size=8))
    ]
    nested = b"[" * draw(st.sampled_from((0, 0, 9, 3_000)))
    return draw(st.sampled_from((b"\n", b"\r\n", b"\n\n", b"\r"))).join([*lines, nested])


def text_bytes() -> st.SearchStrategy[bytes]:
    return st.lists(TEXT).map(lambda lines: "\n".join(lines).encode())


@st.composite
def tar_bytes(draw: st.DrawFn) -> bytes:
    """Members under plausible names, in and out of order, of every kind that a tar knows."""
    stems = st.sampled_from(("0", "1", "d/2", "./3", ".4", "__5__", "é", "a.b", "README", "../x"))
    endings = st.sampled_from((".txt", ".json", ".jpg", ".TXT", ".seg.png", "", "."))
    members = draw(st.lists(st.tuples(stems, endings, st.integers(0, 5)), max_size=9))
    if draw(st.booleans()):
        members = sorted(members)
    sink = io.BytesIO()
    form = draw(st.sampled_from((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)))
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        for stem, ending, kind in members:
            data = _member(draw, ending)
            info = tarfile.TarInfo(stem + draw(st.sampled_from(("", "x" * 90))) + ending)
            info.size = len(data)
            if kind == 5:
                info.type = draw(st.sampled_from((tarfile.DIRTYPE, tarfile.SYMTYPE, b"9", b"g")))
                info.linkname = "../../victim"
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    """These files, in this order."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def _member(draw: st.DrawFn, ending: str) -> bytes:
    if ending != ".json":
        return draw(ANY_TEXT.map(lambda text: text.encode("utf-8", "replace")) | st.binary())
    record: st.SearchStrategy[Any] = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)
    return json.dumps(draw(record | JSON)).encode()


@st.composite
def files(
    draw: st.DrawFn, ending: str, data: st.SearchStrategy[bytes], packed: tuple[str, ...]
) -> File:
    """A file of this ending, packed or not, damaged before or after that or not at all."""
    pack = draw(st.sampled_from(packed))
    found = draw(damaged(data) | st.binary(max_size=200))
    stored = PACKS[pack](found)
    if pack:
        stored = draw(damaged(st.just(stored)))
    return File(f"a{ending}{pack}", stored)


def line_files() -> st.SearchStrategy[File]:
    """Csv, tsv, jsonl and txt."""
    packs = ("", "", ".gz", ".zst")
    separated = csv_bytes() | quote_soup()
    return st.one_of(
        files(".csv", separated, packs),
        files(".tsv", separated, packs),
        files(".jsonl", jsonl_bytes(), packs),
        files(".txt", text_bytes(), packs),
    )


def tar_files() -> st.SearchStrategy[File]:
    return files(".tar", tar_bytes(), ("", "", ".gz"))
