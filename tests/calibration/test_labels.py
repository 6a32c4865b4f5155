from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.calibration import (
    Labels,
    SimilarityOptions,
    match_labels,
    read_labels,
    verdict_labels,
)
from scanner.captions.identity import caption_id
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from scanner.run import Output
from scanner.run.verdicts import FOLDER, TABLES, VERDICTS, verdict_commits
from scanner.storage import Store
from tests.calibration.runs import FINGERPRINT, synthetic_labels, synthetic_run, write_run


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> RunTables:
    return open_run(synthetic_run(tmp_path_factory.mktemp("labels") / "run", captions=30))


def test_all_formats_columns_and_label_values_are_read(tmp_path: Path) -> None:
    csv, jsonl, parquet = (tmp_path / name for name in ("a.csv", "a.jsonl", "a.parquet"))
    csv.write_text('Caption,Label\n"a, b",TRUE\nc,0\nd,\ne,No\n')
    assert read_labels(str(csv)) == Labels(
        "caption", ["a, b", "c", "e"], [True, False, False], [None] * 3, unlabeled=1
    )
    jsonl.write_text('{"key": 7, "verdict": "template"}\n{"key": 8, "verdict": "none"}\n')
    assert read_labels(str(jsonl)) == Labels(
        "key", ["7", "8"], [True, False], [None, None], classes=["template", None]
    )
    table = pa.table({"caption_id": ["x", "y"], "memorized": [True, False], "family": [3, None]})
    pq.write_table(table, parquet)
    found = read_labels(str(parquet))
    assert (found.by, found.groups) == ("caption_id", ["3", None])


def test_a_verdict_beside_the_label_adds_the_class(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "caption,memorized,verdict\na,1,Verbatim\nb,1,template\nc,1,\nd,0,none\ne,0,verbatim\n"
    )
    found = read_labels(str(path))
    assert found.memorized == [True, True, True, False, False]
    assert found.classes == ["verbatim", "template", None, None, None]
    path.write_text("caption,memorized,verdict\na,1,copy\n")
    with pytest.raises(UserError, match=r"row 0 .*, verdict: 'copy' is not a label"):
        read_labels(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words,memorized\na,1\n", "no column that identifies the caption: expected caption_id or"),
        ("caption,truth\na,1\n", "no column with the label: expected memorized or"),
        (
            "caption,memorized\na,maybe\n",
            r"row 0 \(counting from 0\), memorized: 'maybe' is not a label; use one of true",
        ),
        ("caption,memorized\na\n", r"row 0 \(counting from 0\): bad row"),
        ("caption,memorized\na,\nb,\n", "no row has a label; fill in the column memorized"),
    ],
)
def test_an_invalid_label_file_is_refused_naming_the_row(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_labels(str(path))


def test_captions_match_in_any_equivalent_spelling(tables: RunTables, tmp_path: Path) -> None:
    found = match_labels(tables, read_labels(synthetic_labels(tmp_path / "l.csv", 30)))
    assert (len(found.table), found.memorized.sum(), found.unknown) == (30, 6, 0)
    assert found.is_reference.sum() == 10
    for name, memorized in zip(
        found.table["caption"].to_pylist(), found.memorized.tolist(), strict=True
    ):
        assert memorized == (int(name.split()[1]) < 6)


def test_keys_and_ids_identify_captions_too(tables: RunTables) -> None:
    keys = Labels("key", ["k0", "k29", "nobody"], [True, False, True], [None] * 3)
    found = match_labels(tables, keys)
    assert set(found.table["caption"].to_pylist()) == {"Worda 0000", "Wordj 0029"}
    assert found.unknown == 1
    ids = [caption_id("worda 0000"), caption_id("wordj 0029")]
    by_id = match_labels(tables, Labels("caption_id", ids, [True, False], [None] * 2))
    assert len(by_id.table) == 2


@pytest.mark.slow
@pytest.mark.parametrize("labels", [[3, 29], [3.0, 29.0], ["3", "29"], ["3.0", "29.00"]])
@pytest.mark.parametrize("keys", ["integers", "integers as floats"])
def test_an_integer_key_matches_however_it_is_stored(
    tmp_path: Path, labels: list, keys: str
) -> None:
    ending = ".0" if keys == "integers as floats" else ""
    run = synthetic_run(tmp_path / "run", captions=30)
    for path in (Path(run) / "samples").glob("*.parquet"):
        samples = pq.read_table(path)
        renamed = [key.removeprefix("k") + ending for key in samples["key"].to_pylist()]
        index = samples.column_names.index("key")
        pq.write_table(samples.set_column(index, samples.field("key"), [renamed]), path)
    table = pa.table({"key": labels, "memorized": [True, False]})
    pq.write_table(table, tmp_path / "labels.parquet")
    found = match_labels(open_run(run), read_labels(str(tmp_path / "labels.parquet")))
    assert set(found.table["caption"].to_pylist()) == {"Wordd 0003", "Wordj 0029"}
    assert found.unknown == 0


def test_a_caption_with_contradictory_labels_is_excluded(tables: RunTables) -> None:
    names = ["Worda 0000", "WORDA 0000", "Wordb 0001", "Wordc 0002"]
    found = match_labels(tables, Labels("caption", names, [True, False, True, False], [None] * 4))
    assert set(found.table["caption"].to_pylist()) == {"Wordb 0001", "Wordc 0002"}
    assert (found.contradicted, found.unknown) == (1, 0)


def test_a_caption_of_two_classes_is_memorized_but_of_no_class(tables: RunTables) -> None:
    names = ["Worda 0000", "WORDA 0000", "Wordb 0001", "Wordc 0002"]
    memorized, groups = [True, True, True, False], [None] * 4
    classes = ["verbatim", "template", "template", None]
    found = match_labels(tables, Labels("caption", names, memorized, groups, classes=classes))
    kinds = dict(zip(found.table["caption"].to_pylist(), found.classes.tolist(), strict=True))
    assert kinds == {"Worda 0000": "", "Wordb 0001": "template", "Wordc 0002": ""}
    assert (found.memorized.sum(), found.contradicted) == (2, 0)


@pytest.mark.parametrize(
    ("names", "memorized", "message"),
    [
        (["x", "y"], [True, False], "2 labels by caption: none matches a caption that this run"),
        (["Worda 0000", "x"], [True, False], r"usable captions \(1\) are labeled memorized"),
        (["Worda 0000", "x"], [False, True], r"usable captions \(1\) are labeled not memorized"),
        (
            ["Worda 0000"] * 2,
            [True, False],
            "no usable captions: 1 captions with contradictory labels excluded",
        ),
        (
            ["Worda 0000", "Worda 0000", "Wordb 0001"],
            [True, False, True],
            "label some of each; 1 captions with contradictory labels excluded",
        ),
    ],
)
def test_unusable_labels_are_refused_with_the_reason(
    names: list[str], memorized: list[bool], message: str, tables: RunTables
) -> None:
    with pytest.raises(UserError, match=message):
        match_labels(tables, Labels("caption", names, memorized, [None] * len(names)))


def test_near_duplicates_and_groups_form_clusters(tmp_path: Path) -> None:
    """The first two captions are near-duplicates, the second and third share a group."""
    long = "the small brown fox that jumps over a lazy dog in the green garden near the old house"
    captions = [long, long + " today", "something else altogether", "a fourth caption of its own"]
    scores = pa.table(
        {
            "caption_id": [caption_id(caption) for caption in captions],
            "noise_norm_first": pa.array([1.0] * 4, pa.float32()),
        }
    )
    url = write_run(tmp_path / "run", captions, scores, np.zeros(4, bool), FINGERPRINT)
    labels = Labels("caption", captions, [True, True, False, False], [None, "g", "g", None])
    found = match_labels(open_run(url), labels)
    number = dict(zip(found.table["caption"].to_pylist(), found.clusters.tolist(), strict=True))
    assert number[captions[0]] == number[captions[1]] == number[captions[2]]
    assert number[captions[3]] != number[captions[0]]


def test_a_run_without_verdicts_names_the_command_to_run(tables: RunTables) -> None:
    with pytest.raises(UserError, match="memscan verify"):
        verdict_labels(tables)


def test_seed_consistent_rows_are_skipped_unless_counted(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("caption,verdict\na,verbatim\nb,seed-consistent\nc,none\n")
    found = read_labels(str(path))
    assert (found.names, found.memorized, found.seed_consistent) == (["a", "c"], [True, False], 1)
    counted = read_labels(str(path), count_seed_consistent=True)
    assert (counted.memorized, counted.seed_consistent) == ([True, True, False], 0)


def commit_verdicts(run: str, rows: list[dict], generation: int = 0) -> None:
    table = pa.Table.from_pylist([row | {"verified_at": 1.0} for row in rows], VERDICTS)
    output = Output(f"{FOLDER}/{TABLES}", table)
    verdict_commits(Store(run)).commit("one", [output], generation)


def test_a_measure_of_verify_is_a_similarity(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", captions=4)
    ids = [caption_id(f"word{'abcd'[number]} {number:04}") for number in range(4)]
    verdicts = ("verbatim", "template", "none", "none")
    rows = [
        {"caption_id": one, "verdict": verdict, "n_references": 1, "likeness_embedding": likeness}
        for one, verdict, likeness in zip(ids, verdicts, (0.75, 0.25, -0.5, None), strict=True)
    ]
    commit_verdicts(run, rows)
    tables = open_run(run)
    found = verdict_labels(tables, similarity=SimilarityOptions("likeness_embedding"))
    assert dict(zip(found.names, found.similarities, strict=True)) == dict(
        zip(ids, (0.75, 0.25, 0.0, None), strict=True)
    )
    assert sum(found.memorized) == 2
    found = verdict_labels(tables, similarity=SimilarityOptions("likeness_embedding", 0.7))
    assert dict(zip(found.names, found.memorized, strict=True)) == dict(
        zip(ids[:3], (True, False, False), strict=True)
    )
    with pytest.raises(UserError, match="agreement: not a similarity to training"):
        verdict_labels(tables, similarity=SimilarityOptions("agreement"))
    with pytest.raises(UserError, match=r"name their column .*, such as likeness_embedding"):
        verdict_labels(tables, similarity=SimilarityOptions(threshold=0.7))
    with pytest.raises(UserError, match="likeness_hash is null in all verdicts"):
        verdict_labels(tables, similarity=SimilarityOptions("likeness_hash", 0.7))


@pytest.mark.slow
def test_seed_consistent_verdicts_are_not_labels(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", captions=4)
    ids = [caption_id(f"worda {number:04}") for number in range(3)]
    rows = [{"caption_id": one, "verdict": "seed-consistent", "n_references": 0} for one in ids]

    commit_verdicts(run, rows)
    with pytest.raises(UserError, match=r"all verdicts \(3\) are seed-consistent"):
        verdict_labels(open_run(run))
    assert verdict_labels(open_run(run), count_seed_consistent=True).memorized == [True] * 3
    commit_verdicts(run, [rows[0] | {"verdict": "verbatim", "n_references": 1}, *rows[1:]], 1)
    found = verdict_labels(open_run(run))
    assert (found.names, found.memorized, found.seed_consistent) == ([ids[0]], [True], 2)
    assert found.classes == ["verbatim"]


def test_labels_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("caption,memorized\na kite,1\ncafé,0\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"row 1 \(counting from 0\): caption is not UTF-8; save"):
        read_labels(str(path))
