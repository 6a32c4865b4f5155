"""Every query of sql/, on runs of a few rows with obvious results."""

from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.query import RunTables, library, open_run
from scanner.query.library import FOLDER
from tests.query.questions import BLUE, RED, ROWS, named_rows
from tests.query.runs import make_run


@pytest.mark.slow
@pytest.mark.parametrize("name", list(library()))
def test_every_query_is_documented_and_plans_over_an_empty_run(name: str, tmp_path: Path) -> None:
    query = library()[name]
    assert query.purpose
    assert all(query.columns.values())
    assert set(query.about) == set(query.parameters)
    empty = make_run(tmp_path / "empty", [])
    tables = open_run(empty, {"other": empty})
    example = query.bind(dict(word.split("=", 1) for word in query.example))
    parameters = {**query.parameters, **example}
    assert tables.connection.execute(f"EXPLAIN {query.sql}", parameters).fetchall()
    names = tables.query(query.sql, parameters).column_names
    # Some carry kept columns along.
    assert [name for name in names if name in query.columns] == list(query.columns)


def test_the_cookbook_shows_every_query_as_its_file_describes_it() -> None:
    shown = (FOLDER / "README.md").read_text()
    for query in library().values():
        for text in (query.purpose, *query.about.values(), *query.columns.values()):
            assert text in shown, f"{query.name}: rerun jobs.development.cookbook"


def test_trigger_words_are_more_frequent_in_flagged_captions(
    tables: RunTables,
) -> None:
    rows = named_rows(tables, "trigger_words", rate="0.4", prior="10")
    found = {row["word"]: row for row in rows}
    assert [row["word"] for row in rows][:3] == ["floors", "poster", "shaw"]
    assert found["shaw"]["flagged_captions"] == found["shaw"]["trigger_captions"] == 2
    assert found["poster"]["trigger_captions"] == 0
    assert found["a"]["other_captions"] == 1
    assert found["shaw"]["z"] > found["a"]["z"]
    assert found["shaw"]["examples"] == [BLUE, RED]
    assert "river" not in found


def test_log_odds_are_those_of_the_paper(tables: RunTables) -> None:
    row = next(
        r for r in named_rows(tables, "trigger_words", rate="0.4", prior="10") if r["word"] == "a"
    )
    # 10 words stand in flagged captions and 10 in the others; a stands in 2 and in 1 of them.
    own = 10 * 3 / 20
    from math import log, sqrt

    odds = log((2 + own) / (10 + 10 - 2 - own)) - log((1 + own) / (10 + 10 - 1 - own))
    assert row["log_odds"] == pytest.approx(odds)
    assert row["z"] == pytest.approx(odds / sqrt(1 / (2 + own) + 1 / (1 + own)))


def test_neighboring_triggers_are_one_phrase(tables: RunTables) -> None:
    assert named_rows(tables, "trigger_spans", rate="0.4") == [
        {
            "phrase": "shaw floors",
            "captions": 2,
            "samples": 9,
            "mean_mass": pytest.approx(0.45),
            "examples": [BLUE, RED],
        }
    ]


def test_templates_show_the_shared_and_the_varying_words(tables: RunTables) -> None:
    (row,) = named_rows(tables, "templates", rate="0.4")
    assert row["cluster"] in ("a", "b")
    assert (row["captions"], row["samples"]) == (2, 9)
    assert row["mean_rank_score"] == pytest.approx(8.5)
    assert row["template"] == "a … shaw floors poster"
    assert row["varies"] == ["blue", "red"]


def test_neighbors_of_an_id_and_of_a_text(tables: RunTables) -> None:
    rows = named_rows(tables, "neighbors", caption="a")
    assert [(row["caption_id"], row["jaccard"]) for row in rows] == [
        ("a", 1.0), ("b", pytest.approx(4 / 6)),
    ]  # fmt: skip
    rows = named_rows(
        tables, "neighbors", caption="quiet river'); DROP TABLE scores; --", least="0.2"
    )
    assert {row["caption_id"] for row in rows} == {"c", "d"}


def test_scores_are_grouped_by_repetition(tables: RunTables) -> None:
    rows = named_rows(tables, "duplicates_and_scores", rate="0.4")
    found = [(r["samples_from"], r["samples_to"], r["captions"], r["flagged"]) for r in rows]
    assert found == [(1, 1, 2, 1), (3, 4, 1, 0), (5, 8, 1, 1)]
    assert rows[0]["flagged_examples"] == [BLUE]
    assert rows[1]["other_examples"] == ["the quiet river at night"]
    assert rows[0]["median_rank_score"] == pytest.approx(4.5)


def test_signals_agree_in_rank_and_at_the_top(tables: RunTables) -> None:
    rows = named_rows(tables, "signal_agreement", share="0.5")
    found = {(row["signal"], row["other"]): row for row in rows}
    assert set(found) == {
        ("bos_mass", "entropy_e"), ("bos_mass", "noise_norm_first"),
        ("entropy_e", "noise_norm_first"),
    }  # fmt: skip
    # Less on the BOS token, as more noise, means memorized: they rank alike.
    assert found["bos_mass", "noise_norm_first"]["rank_correlation"] == pytest.approx(1)
    assert found["bos_mass", "noise_norm_first"]["top_overlap"] == 1
    assert found["entropy_e", "noise_norm_first"]["rank_correlation"] == pytest.approx(0.8)
    assert found["entropy_e", "noise_norm_first"]["top_overlap"] == 0.5


def test_distributions_exclude_reference_captions(tables: RunTables) -> None:
    found = {row["signal"]: row for row in named_rows(tables, "score_distribution")}
    assert set(found) == {"entropy_e", "bos_mass", "noise_norm_first", "rank_score"}
    assert found["noise_norm_first"]["captions"] == 4
    assert found["noise_norm_first"]["most"] == 9.0
    assert found["noise_norm_first"]["mean"] == pytest.approx(5)


def test_flagged_samples_by_file_and_by_host(tables: RunTables) -> None:
    rows = named_rows(tables, "by_source", rate="0.4")
    assert [(row["value"], row["samples"], row["flagged_samples"]) for row in rows] == [
        ("one.csv", 8, 8), ("s.csv", 7, 1),
    ]  # fmt: skip
    rows = named_rows(tables, "by_source", rate="0.4", column="url")
    assert [(row["value"], row["flagged_samples"], row["flagged_captions"]) for row in rows] == [
        ("shop.example", 9, 2), ("else.example", 0, 0), (None, 0, 0),
    ]  # fmt: skip
    assert rows[0]["lift"] == pytest.approx(15 / 9)
    with pytest.raises(UserError, match="column"):
        named_rows(tables, "by_source", column="no such")


def test_quality_counts_rejects_cuts_and_seed_disagreement(tables: RunTables) -> None:
    found = {row["measure"]: row for row in named_rows(tables, "run_quality")}
    assert found["rejected by plan: empty caption"]["count"] == 1
    assert found["rejected by plan: bad row"]["share"] == pytest.approx(1 / 18)
    assert found["captions without a score"]["count"] == 1
    assert found["captions longer than the model reads"]["share"] == pytest.approx(1 / 5)
    spread = found["seeds disagree in noise_norm_first_seeds (share: deviation over mean)"]
    assert spread["share"] == pytest.approx(2**0.5 / 9 / 5)


@pytest.mark.slow
def test_two_runs_are_compared_caption_by_caption(run: str, tmp_path: Path) -> None:
    moved = {"a": 1.5, "b": 8.0, "c": 9.0}
    others = [
        {**row, "noise_norm_first": moved[row["caption_id"]]}
        for row in ROWS
        if row["caption_id"] in moved
    ]
    tables = open_run(run, {"other": make_run(tmp_path / "other", others)})
    rows = named_rows(tables, "compare")
    assert [row["caption_id"] for row in rows] == ["a", "c", "b"]
    assert rows[0]["change"] == pytest.approx(-7.5)
    assert (rows[0]["percentile_here"], rows[0]["percentile_there"]) == (1, 0)
    with pytest.raises(UserError, match="other"):
        named_rows(open_run(run), "compare")
