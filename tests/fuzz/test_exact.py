"""Valid Unicode in a well-formed file comes out as it went in, whatever the format."""

import csv
import io
import json
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from scanner.captions.caption_list import read_caption_list
from scanner.captions.formats import inspect, read
from scanner.captions.values import as_text, captions
from tests.fuzz.conftest import Explore
from tests.fuzz.damage import PACKS
from tests.fuzz.files import LINES, TEXT, tar_of

Place = Callable[[str, bytes], str]
Rows = list[tuple[str, str]]
# A field over several lines that each look like a row is doubted by design.
FIELD = TEXT.filter(lambda text: text.count("\n") + text.count("\r") < 3)
PACKED = st.sampled_from(("", ".gz", ".zst"))


def _both(url: str, quoting: str = "auto") -> Rows:
    """The captions and keys of a file in which no row is bad."""
    rows: Rows = []
    for batch in read(url, ["caption", "key"], quoting=inspect(url, quoting).quoting):
        texts, reasons = captions(batch.columns["caption"])
        assert (batch.bad, reasons) == ([], {})
        keys = as_text(batch.columns["key"])
        rows += zip(pa.array(texts).to_pylist(), keys.to_pylist(), strict=True)
    return rows


def _written(rows: list, delimiter: str, ending: str) -> bytes:
    sink = io.StringIO()
    # Python's writer does not quote a carriage return that ends no line of its own.
    returns = any("\r" in field for row in rows for field in row)
    quoted = csv.QUOTE_ALL if delimiter == "\t" or returns else csv.QUOTE_MINIMAL
    csv.writer(sink, delimiter=delimiter, lineterminator=ending, quoting=quoted).writerows(rows)
    return sink.getvalue().encode()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_what_a_csv_writer_quoted_is_read(explore: Explore, place: Place, name: str) -> None:
    def check(rows: Rows, delimiter: str, ending: str, pack: str) -> None:
        delimiter = "\t" if name == "a.tsv" else delimiter
        data = _written([("caption", "key"), *rows], delimiter, ending)
        assert _both(place(name + pack, PACKS[pack](data)), "standard") == rows

    field = FIELD if name == "a.csv" else LINES
    explore(
        check,
        rows=st.lists(st.tuples(field, field), max_size=6),
        delimiter=st.sampled_from(",;"),
        ending=st.sampled_from(("\n", "\r\n")),
        pack=PACKED,
    )


def test_unquoted_fields_are_plain_text(explore: Explore, place: Place) -> None:
    def check(rows: Rows) -> None:
        plain = [(one.replace("\t", " "), two.replace("\t", " ")) for one, two in rows]
        lines = ["caption\tkey", *map("\t".join, plain)]
        url = place("a.tsv", "".join(f"{line}\n" for line in lines).encode())
        assert _both(url, "none") == plain

    explore(check, rows=st.lists(st.tuples(LINES, LINES)))


def test_json_lines_keep_all_text(explore: Explore, place: Place) -> None:
    def check(rows: Rows, plain: bool, ending: str, pack: str) -> None:
        lines = [
            json.dumps({"caption": caption, "key": key}, ensure_ascii=plain) + ending
            for caption, key in rows
        ]
        data = PACKS[pack]("".join(lines).encode())
        assert _both(place(f"a.jsonl{pack}", data)) == rows

    explore(
        check,
        rows=st.lists(st.tuples(TEXT, TEXT), min_size=1),
        plain=st.booleans(),
        ending=st.sampled_from(("\n", "\r\n", "\n\n")),
        pack=PACKED,
    )


def test_lines_of_text_are_captions(explore: Explore, place: Place) -> None:
    def check(lines: list[str], pack: str) -> None:
        data = PACKS[pack]("".join(f"{line}\n" for line in lines).encode())
        url = place(f"a.txt{pack}", data)
        expected = [line for line in lines if line.strip()]
        if expected[:1]:
            expected[0] = expected[0].removeprefix("\ufeff") if lines[0].strip() else expected[0]
        found = [text for batch in read(url, ["caption"]) for text in batch.columns["caption"]]
        assert found == expected
        if expected:
            assert read_caption_list(url, "--captions", ["caption"]) == ("caption", expected)

    explore(check, lines=st.lists(LINES), pack=PACKED)


def test_a_tars_texts_and_keys_survive(explore: Explore, place: Place) -> None:
    def check(samples: dict[str, str], as_json: bool, pack: str) -> None:
        column = "caption" if as_json else "txt"
        members = [
            (f"{key}.json", json.dumps({column: text}).encode())
            if as_json
            else (f"{key}.txt", text.encode())
            for key, text in samples.items()
        ]
        url = place(f"a.tar{pack}", PACKS[pack](tar_of(members)))
        found: Rows = []
        for batch in read(url, ["key", column]):
            assert batch.bad == []
            found += zip(batch.columns["key"], batch.columns[column], strict=True)
        bare = {
            key: text if as_json else text.removeprefix("\ufeff") for key, text in samples.items()
        }
        assert found == list(bare.items())

    # What stands before the first dot of a name, no hidden file and no metadata.
    key = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="./_\x00"), min_size=1
    ).filter(lambda key: key.lower() not in ("readme", "license", "licence"))
    explore(
        check,
        samples=st.dictionaries(key, TEXT, min_size=1, max_size=5),
        as_json=st.booleans(),
        pack=st.sampled_from(("", ".gz")),
    )
