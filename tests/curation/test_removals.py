"""From rules to samples: which are listed, why, and which are kept."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from scanner.curation import choose_image_key, curate, difference, load_baseline
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from scanner.run import Output, Run
from scanner.run.verdicts import FOLDER, TABLES, VERDICTS, verdict_commits
from tests.curation.runs import LOUD, ROWS, loudness, make_run, policy, rule, write_rows


def listed(run: str, tables: RunTables, given, out: Path, **options) -> dict[int, tuple]:
    """Action and reasons by row."""
    curate(run, tables, given, str(out), **options)
    rows = pq.read_table(out / "removal_list.parquet").to_pylist()
    return {row["row"]: (row["action"], ";".join(row["reasons"])) for row in rows}


@pytest.mark.slow
def test_a_cap_keeps_k_samples_and_removes_whole_images(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    found = listed(run, tables, policy(rule("loud", LOUD, "cap", keep=2)), tmp_path / "o")
    first = [found[row] for row in range(5)]
    assert sorted(first) == [("cap", "loud")] * 3 + [("keep", "loud")] * 2
    assert sorted(found[row][0] for row in range(5, 8)) == ["cap", "keep", "keep"]
    assert found[8] == ("cap", "loud;same-image")
    assert found[10] == ("keep", "loud")
    assert {9, 11}.isdisjoint(found)  # another image, and no image key: nothing is shared
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["shared_image"] == sum("same-image" in reasons for _, reasons in found.values())


@pytest.mark.slow
def test_a_cap_keeps_the_same_samples_each_time(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    given = policy(rule("loud", LOUD, "cap"))
    curate(run, tables, given, str(tmp_path / "1"))
    curate(run, open_run(run), given, str(tmp_path / "2"))
    name = "removal_list.parquet"
    assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.slow
def test_a_cap_of_images_counts_the_samples_of_all_captions(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    given = policy(rule("loud", LOUD, "cap", keep=2, of="image"))
    found = listed(run, tables, given, tmp_path / "o")
    with_u1 = [found[row][0] for row in (0, 1, 2, 3, 4, 8)]
    assert sorted(with_u1) == ["cap"] * 4 + ["keep"] * 2


@pytest.mark.slow
def test_the_first_rule_decides_and_all_matches_are_named(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    given = policy(
        rule("mine", "caption = 'loud b'", "keep"),
        rule("often", "n_samples >= 5", "recaption"),
        rule("loud", LOUD, "drop"),
    )
    found = listed(run, tables, given, tmp_path / "o")
    assert {found[row] for row in range(5)} == {("recaption", "often;loud")}
    assert found[10] == ("drop", "loud")
    assert found.keys() == {0, 1, 2, 3, 4, 10}


@pytest.mark.slow
def test_keep_protects_samples_of_a_removed_image(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", [("loud", "u"), ("mine", "u"), ("other", "u")])
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    given = policy(rule("mine", "caption = 'mine'", "keep"), rule("loud", LOUD, "drop"))
    found = listed(run, open_run(run), given, tmp_path / "o")
    assert found == {0: ("drop", "loud"), 2: ("drop", "loud;same-image")}


@pytest.mark.slow
def test_dropping_an_image_overrides_another_captions_cap(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", [*[("loud x", "u")] * 2, ("loud y", "u")])
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    given = policy(rule("x", "caption = 'loud x'", "cap"), rule("y", "caption = 'loud y'", "drop"))
    found = listed(run, open_run(run), given, tmp_path / "o")
    shared = ("drop", "y;same-image")
    assert found == {0: shared, 1: shared, 2: ("drop", "y")}


@pytest.mark.slow
def test_image_key_may_be_none_or_another_column(run: str, tmp_path: Path) -> None:
    given = policy(rule("loud", LOUD, "cap"))
    tables = open_run(run)
    choose_image_key(tables, "none")
    assert 8 not in listed(run, tables, given, tmp_path / "o")
    tables = open_run(run)
    with pytest.raises(UserError, match="--image-key hash: samples has no such column; it has"):
        choose_image_key(tables, "hash")
    choose_image_key(tables, "url")
    assert 8 in listed(run, tables, given, tmp_path / "o")


@pytest.mark.slow
def test_the_list_identifies_each_sample(run: str, tables: RunTables, tmp_path: Path) -> None:
    given = policy(rule("loud", LOUD, "drop"))
    curate(run, tables, given, str(tmp_path))
    table = pq.read_table(tmp_path / "removal_list.parquet")
    row = table.slice(0, 1).to_pylist()[0]
    assert row["source"].endswith("a.jsonl")
    assert (row["row"], row["key"], row["url"]) == (0, "0", "u1")
    assert (row["score"], row["kept_score"]) == (9.0, "kept 0")  # the list's own, the data set's
    assert row["policy"] == given.id
    assert all(b"description" in field.metadata for field in table.schema)
    about = table.schema.field("kept_score").metadata[b"description"]
    assert about == b"the input's column score, as text"
    text = pyarrow.csv.read_csv(tmp_path / "removal_list.csv")
    assert [name for name in text.column_names if name != "caption"] == table.column_names
    assert len(text) == len(table) == 10


@pytest.mark.slow
def test_csv_files_have_what_to_remove_and_to_recaption(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    rules = [rule("loud", LOUD, "cap"), rule("often", "n_samples >= 2", "recaption")]
    curate(run, tables, policy(*rules), str(tmp_path))
    listed = pq.read_table(tmp_path / "removal_list.parquet").to_pylist()
    assert {row["action"] for row in listed} == {"keep", "cap", "recaption"}
    removed = pyarrow.csv.read_csv(tmp_path / "removal_list.csv").to_pylist()
    assert {row["action"] for row in removed} == {"cap"}
    assert len(removed) == sum(row["action"] == "cap" for row in listed)
    texts = {row["caption_id"]: row["caption"] for row in tables.query("FROM captions").to_pylist()}
    assert all(row["caption"] == texts[row["caption_id"]] for row in removed)
    rewritten = pyarrow.csv.read_csv(tmp_path / "recaption_list.csv")
    assert len(rewritten) == sum(row["action"] == "recaption" for row in listed) > 0
    curate(run, tables, policy(rules[0]), str(tmp_path))
    assert not (tmp_path / "recaption_list.csv").exists()


@pytest.mark.slow
def test_csv_captions_are_those_scanned_and_no_formulas(tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text(json.dumps({"text": "=1+1 loud", "caption": "another"}) + "\n")
    columns = {"caption_column": ("text",), "keep": ("caption",)}
    run = make_run(tmp_path / "run", loudness, captions=(str(data),), **columns)
    given = policy(rule("loud", LOUD, "drop"))
    curate(run, open_run(run), given, str(tmp_path / "o"), force=True)
    (row,) = pyarrow.csv.read_csv(tmp_path / "o" / "removal_list.csv").to_pylist()
    assert (row["caption"], row["kept_caption"]) == ("'=1+1 loud", "another")
    (exact,) = pq.read_table(tmp_path / "o" / "removal_list.parquet").to_pylist()
    assert exact["caption"] == "another"


@pytest.mark.slow
def test_each_rule_is_also_counted_as_if_applied_alone(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    given = policy(rule("often", "n_samples >= 5", "cap"), rule("loud", LOUD, "drop"))
    summary = curate(run, tables, given, str(tmp_path))
    assert summary.by_rule["often"].removed == 5  # 4 of 5, and u1 under another caption
    assert summary.by_rule["loud"].removed == 4
    assert summary.by_rule["loud"].alone == {"keep": 0, "drop": 10, "cap": 0, "recaption": 0}
    assert sum(summary.actions.values()) == summary.samples == len(ROWS)
    assert json.loads((tmp_path / "summary.json").read_text())["actions"] == summary.actions
    assert "if applied alone" in (tmp_path / "summary.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "when",
    [
        "true) UNION (SELECT 1",
        "1), (2",
        "1) FROM samples WHERE (1",
        "1) GROUP BY (1",
        "true); DROP VIEW samples; SELECT (true",
        "no_such_column > 1",
        "x >",
        "caption",
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
    ],
)
def test_a_predicate_is_one_expression_over_ranked(
    run: str, tables: RunTables, tmp_path: Path, when: str
) -> None:
    with pytest.raises(UserError, match=r"rule bad|SQL"):
        curate(run, tables, policy(rule("bad", when, "drop")), str(tmp_path / "o"))
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_diff_compares_with_another_policy_or_earlier_list(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    before = policy(rule("loud", LOUD, "cap"))
    curate(run, tables, before, str(tmp_path / "1"))
    tables = open_run(run)
    load_baseline(tables, str(tmp_path / "1"), run)
    curate(run, tables, policy(rule("loud", LOUD, "drop")), str(tmp_path / "2"))
    found = difference(tables, "1")
    assert [tuple(item.values()) for item in found.changes] == [
        ("cap", "drop", 7), ("keep", "drop", 3),
    ]  # fmt: skip
    assert {row["caption"] for row in found.captions} == {"loud a", "loud b", "loud c", "quiet"}
    tables = open_run(run)
    load_baseline(tables, "default", run)
    curate(run, tables, before, str(tmp_path / "3"))
    assert difference(tables, "default").changes == [
        {"before": "keep", "after": "cap", "samples": 7}
    ]
    with pytest.raises(UserError, match="not a policy"):
        load_baseline(tables, str(tmp_path / "nothing"), run)


@pytest.mark.slow
def test_equal_lists_have_no_differences(run: str, tables: RunTables, tmp_path: Path) -> None:
    given = policy(rule("loud", LOUD, "cap"))
    curate(run, tables, given, str(tmp_path))
    load_baseline(tables, str(tmp_path), run)
    curate(run, tables, given, str(tmp_path))
    assert difference(tables, "x").to_text().endswith("nothing changes")


@pytest.mark.slow
def test_predicates_can_read_verdicts_and_p_values(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", [("loud", "u"), ("quiet", "v"), ("copied", "w")])
    held_out = write_rows(tmp_path / "h.jsonl", [(f"held out {k}", f"x{k}") for k in range(40)])
    run = make_run(tmp_path / "run", loudness, captions=(str(data),), reference=(str(held_out),))
    store = Run.existing(run).store
    (copied,) = open_run(run).query("FROM captions WHERE caption = 'copied'").to_pylist()
    verdict = {"caption_id": copied["caption_id"], "verdict": "verbatim", "verified_at": 1.0}
    table = pa.Table.from_pylist([verdict], VERDICTS)
    verdict_commits(store).commit("one", [Output(f"{FOLDER}/{TABLES}", table)])
    given = policy(
        rule("copied", "verdict = 'verbatim'", "drop"),
        rule("surprising", "p_value < 0.03 AND q_value <= 0.1", "drop"),
    )
    tables = open_run(run)
    found = listed(run, tables, given, tmp_path / "o")
    assert found == {0: ("drop", "surprising"), 2: ("drop", "copied")}
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    # No more than what is removed, though all three captions are at or above the lowest of them.
    assert summary["expected_false_captions"] == 2
    assert summary["expected_by"] == "reference captions"
    text = (tmp_path / "o" / "summary.txt").read_text()
    assert "at most 2.0 of 2 captions (100.0%) on average" in text
