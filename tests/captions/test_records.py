"""What quotes of csv and tsv mean is found in the data, and a stray one costs no other row."""

import time
from collections import Counter
from pathlib import Path

import pytest

from scanner.captions.batch import Batch
from scanner.captions.formats import inspect, read
from scanner.captions.lines import LONG_ROWS, UNCLOSED_ROWS


def _read(path: Path, option: str = "auto", column: str = "caption") -> Batch:
    """All rows of a small file, with quotes as the option has them."""
    batches = list(read(str(path), [column], quoting=inspect(str(path), option).quoting))
    notes = sum((Counter(batch.notes) for batch in batches), Counter())
    return Batch(
        [row for batch in batches for row in batch.rows],
        {column: [one for batch in batches for one in batch.columns[column]]},
        [bad for batch in batches for bad in batch.bad],
        dict(notes),
    )


def _stray(path: Path, rows: int, every: int, before: str = "", separator: str = "\t") -> Path:
    """A file in which some captions begin with a quote that is a plain character."""
    lines = [f"caption{separator}url\n", before]
    for k in range(rows):
        quote = '"' * (k % every == 0)
        lines.append(f"{quote}caption {k}{separator}https://h/{k}\n")
    path.write_text("".join(lines))
    return path


def test_an_unquoted_tsv_with_stray_quotes_keeps_every_row(tmp_path: Path) -> None:
    found = _read(_stray(tmp_path / "a.tsv", 5000, 500))
    assert (list(found.rows), found.bad, found.notes) == (list(range(5000)), [], {})
    assert found.columns["caption"][:2] == ['"caption 0', "caption 1"]


@pytest.mark.parametrize("quoted", [1, 30_000])
def test_stray_quotes_far_behind_the_sample_take_no_rows(tmp_path: Path, quoted: int) -> None:
    """Quoted fields come first, a MiB of them or one; what a stray quote costs is known later."""
    before = "".join(f'"said ""so"", {k}"\thttps://q/{k}\n' for k in range(quoted))
    found = _read(_stray(tmp_path / "a.tsv", 3000, 300, before))
    assert len(found.rows) + len(found.bad) == quoted + 3000
    assert found.columns["caption"][0] == 'said "so", 0'
    assert [reason.rsplit(" ", 2)[0] for _, reason in found.bad] == ["bad row: unclosed quote"] * (
        10 if quoted > 1 else 0
    )


def test_a_tsv_field_is_unquoted_only_where_it_needs_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(
        'caption\turl\n"Home, sweet home"\tu0\n"say ""hi"""\tu1\n"two\nlines"\tu2\n"a\tb"\tu3\n'
        '5" pipe\tu4\n""\tu5\n"said "so"\tu6\n27"\tu7\n'
    )
    found = _read(tmp_path / "a.tsv")
    assert found.bad == []
    assert found.columns["caption"] == [
        '"Home, sweet home"', 'say "hi"', "two\nlines", "a\tb", '5" pipe', "", '"said "so"', '27"',
    ]  # fmt: skip


def test_a_tsv_with_a_column_quoted_throughout_is_unquoted(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('"caption"\t"url"\n"a cat"\t"u0"\n"a ""dog"""\t"u1"\n')
    assert inspect(str(tmp_path / "a.tsv")).columns == ["caption", "url"]
    assert _read(tmp_path / "a.tsv").columns["caption"] == ["a cat", 'a "dog"']


def test_a_stray_quote_in_a_csv_costs_its_own_line(tmp_path: Path) -> None:
    found = _read(_stray(tmp_path / "a.csv", 2000, 400, separator=","))
    assert len(found.rows) == 1995
    assert found.bad[1] == (400, "bad row: unclosed quote (line 402)")
    assert found.notes == {UNCLOSED_ROWS: 5}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_quote_that_another_row_closes_takes_no_row_along(tmp_path: Path, name: str) -> None:
    separator = "," if name == "a.csv" else "\t"
    path = _stray(tmp_path / name, 50, 100, separator=separator)
    path.write_text(path.read_text().replace("caption 20", 'Monitor 27"'))
    found = _read(path, "standard")
    assert (list(found.rows), [row for row, _ in found.bad]) == (list(range(1, 50)), [0])
    assert found.columns["caption"][19] == 'Monitor 27"'


def test_an_unclosed_last_quote_costs_its_line_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('caption,key\na,1\n"never closed,2\nb,3\nc,"')
    found = _read(tmp_path / "a.csv")
    assert found.columns["caption"] == ["a", "b"]
    assert [row for row, _ in found.bad] == [1, 3]


def test_fields_of_many_lines_are_noted_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('caption\n"' + "line\n" * 20 + '27"\nother\n')
    found = _read(tmp_path / "a.tsv")
    assert found.notes == {LONG_ROWS: 1}
    assert "--quoting none" in LONG_ROWS
    assert len(_read(tmp_path / "a.tsv", "none").rows) == 22


def test_quotes_of_a_captions_own_lines_stay_one_row(tmp_path: Path) -> None:
    text = 'caption,key\n"Roses are red,\nviolets, they say,\nare ""blue"" indeed\n",1\nb,2\n'
    (tmp_path / "a.csv").write_text(text)
    found = _read(tmp_path / "a.csv")
    assert found.columns["caption"][1] == "b"
    assert found.columns["caption"][0].count("\n") == 3


@pytest.mark.slow
def test_lines_that_all_open_a_quote_are_read_in_linear_time(tmp_path: Path) -> None:
    """Each closes the quote of the line before and opens one: a record without an end."""
    (tmp_path / "a.csv").write_text("caption,url\n" + 'a","b\n' * 8000 + "c,d\n")
    started = time.process_time()
    found = _read(tmp_path / "a.csv")
    assert time.process_time() - started < 8
    assert (len(found.bad), found.columns["caption"]) == (8000, ["c"])


@pytest.mark.parametrize(("option", "caption"), [("none", '"a cat"'), ("standard", "a cat")])
def test_the_option_goes_before_the_data(tmp_path: Path, option: str, caption: str) -> None:
    (tmp_path / "a.tsv").write_text('caption\turl\n"a cat"\tu\nplain\tv\n')
    assert _read(tmp_path / "a.tsv", option).columns["caption"] == [caption, "plain"]


@pytest.mark.parametrize(
    ("data", "captions"),
    [
        (b"\xef\xbb\xbfcaption,key\r\na,1\r\n\r\nb,2", ["a", "b"]),
        (b"caption,key\ra,1\rb,2\r", ["a", "b"]),
        (b"caption,key\na\x00b,1\n\xff,2\n", ["a\x00b", "\udcff"]),
        (b"caption,key\n\xef\xbb\xbfa,1\n", ["\ufeffa"]),
        (b"\n\ncaption,key\na,1\n\n\n", ["a"]),
    ],
)
def test_marks_line_ends_nul_and_blank_lines_are_read(
    tmp_path: Path, data: bytes, captions: list[str]
) -> None:
    for option in ("standard", "none"):
        (tmp_path / "a.csv").write_bytes(data)
        assert _read(tmp_path / "a.csv", option).columns["caption"] == captions
