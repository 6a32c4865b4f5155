"""Public lists of memorized captions are labels as they are published."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.calibration import (
    Labels,
    SimilarityOptions,
    join_labels,
    match_labels,
    read_labels,
    read_list,
)
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from tests.calibration.runs import synthetic_run

NEMO = (
    ";Caption;URL;type;mean_sscd;max_sscd;Index\n"
    "0;The Happy Scientist;https://x.example/1.jpg;VM;0.83;0.86;1\n"
    '1;"A ""quoted"", caption; with both";https://x.example/2.jpg;TM;-0.02;-0.01;2\n'
    "2;No similarity;https://x.example/4.jpg;TM;;;4\n"
)
NEMO_OTHERS = ";Caption;URL;Index\n0;Boats in fog;https://x.example/5.jpg;396\n"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> RunTables:
    return open_run(synthetic_run(tmp_path_factory.mktemp("lists") / "run", captions=30))


def test_nemo_s_types_and_sscd_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "memorized.csv"
    path.write_text(NEMO)
    for found in (read_labels(str(path)), read_list(str(path), memorized=True)):
        assert found.by == "caption"
        assert found.names[1] == 'A "quoted", caption; with both'
        assert found.memorized == [True] * 3
        assert found.classes == ["verbatim", "template", "template"]
        assert found.similarities == [0.86, 0.0, None]
    mean = read_labels(str(path), similarity=SimilarityOptions("mean_sscd", 0.5))
    assert (mean.names, mean.memorized) == (
        ["The Happy Scientist", 'A "quoted", caption; with both'],
        [True, False],
    )


def test_webster_s_parquet_is_read_as_published(tmp_path: Path) -> None:
    table = {
        "url": ["https://x.example/1.jpg"] * 4,
        "caption": ["a", "b", "c", "d"],
        "overfit_type": ["MV", "RV", "TV", "N"],
        "gen_seeds": [[1, 2], [], [3], []],
        "mse_real_gen": [1.0, 2.0, 3.0, 4.0],
    }
    pq.write_table(pa.table(table), tmp_path / "groundtruth.parquet")
    found = read_labels(str(tmp_path / "groundtruth.parquet"))
    assert found.memorized == [True, True, True, False]
    assert found.classes == ["verbatim", "verbatim", "template", None]


def test_lists_of_one_kind_are_joined(tmp_path: Path) -> None:
    yes, no, lines = (tmp_path / name for name in ("yes.csv", "no.csv", "no.txt"))
    yes.write_text(NEMO)
    no.write_text(NEMO_OTHERS)
    lines.write_text("a calm lake\n\na busy street")
    parts = [read_list(str(yes), True), read_list(str(no), False), read_list(str(lines), False)]
    found = join_labels(parts)
    assert found.names[3:] == ["Boats in fog", "a calm lake", "a busy street"]
    assert found.memorized == [True] * 3 + [False] * 3
    assert found.classes == ["verbatim", "template", "template", None, None, None]
    assert found.similarities == [0.86, 0.0, None, None, None, None]
    assert join_labels([read_labels(str(yes)), *parts[1:]]) == found


def test_a_line_that_kept_its_csv_quotes_matches(tables: RunTables, tmp_path: Path) -> None:
    """Some lines of Ren et al.'s lists are quoted as fields of the csv that they come from."""
    memorized, others = tmp_path / "memorized.txt", tmp_path / "others.txt"
    memorized.write_text('"Worda 0000"\nWordb 0001\n')
    others.write_text("Wordc 0002\n")
    parts = [read_list(str(memorized), True), read_list(str(others), False)]
    found = match_labels(tables, join_labels(parts))
    assert dict(zip(found.table["caption"].to_pylist(), found.memorized.tolist(), strict=True)) == {
        "Worda 0000": True,
        "Wordb 0001": True,
        "Wordc 0002": False,
    }
    assert found.unknown == 0


@pytest.mark.parametrize("column", ["prompt", "TEXT"])
def test_other_names_of_the_caption_are_understood(tmp_path: Path, column: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{column},memorized\na,1\nb,0\n")
    assert read_labels(str(path)) == Labels("caption", ["a", "b"], [True, False], [None] * 2)


def test_a_column_type_about_something_else_is_not_a_class(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("caption,memorized,type\na,1,photo\nb,1,VM\nc,0,photo\n")
    assert read_labels(str(path)).classes == [None, "verbatim", None]
    path.write_text("caption,type\na,photo\nb,drawing\n")
    assert read_list(str(path), False).memorized == [False, False]
    with pytest.raises(UserError, match=r"row 0 .*, type: 'photo' is not a label; use one of true"):
        read_labels(str(path))
    path.write_text("caption,type,sscd\na,,0.1\nb,photo,0.9\n")
    assert read_labels(str(path)).memorized == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caption,memorized\na,1\n", "has labels, in the column memorized: read it by --labels"),
        ("caption,overfit_type\na,MV\nb,N\n", r"row 1 .*overfit_type: 'N' in a list of memorized"),
        ("caption,overfit_type\na,XX\n", r"row 0 .*overfit_type: 'XX' is not a label"),
        ("words\na\n", "no column that identifies the caption: expected caption_id or"),
        ("caption\n", "no captions in it"),
    ],
)
def test_a_list_that_is_not_of_one_kind_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_list(str(path), memorized=True)


def test_a_list_without_labels_names_the_option_for_it(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a calm lake\n")
    with pytest.raises(UserError, match="of one kind is for --memorized or --not-memorized"):
        read_labels(str(path))


def test_files_that_cannot_be_combined_are_refused(tmp_path: Path) -> None:
    keys, similar, lines = (tmp_path / name for name in ("a.csv", "b.csv", "c.txt"))
    keys.write_text("key,memorized\n1,true\n")
    similar.write_text("caption,sscd\na,0.9\n")
    lines.write_text("a calm lake\n")
    others = read_list(str(lines), False)
    with pytest.raises(UserError, match="identify captions by key and caption"):
        join_labels([read_labels(str(keys)), others])
    with pytest.raises(UserError, match="cannot be combined with --memorized or --not-memorized"):
        join_labels([read_labels(str(similar)), others])


def test_labels_of_one_kind_name_the_option_for_others(tables: RunTables, tmp_path: Path) -> None:
    path = tmp_path / "memorized.txt"
    path.write_text("Worda 0000\n")
    with pytest.raises(UserError, match="; --not-memorized FILE adds a list of others"):
        match_labels(tables, read_list(str(path), True))
