"""Named queries name missing data, and match column names in any case."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scanner.errors import UsageError, UserError
from scanner.query import RunTables, library, open_run, run_named_query
from scanner.query.later_tables import LATER
from scanner.query.named_queries import REMEDIES
from scanner.run.schema import column
from tests.memscan import called
from tests.query.runs import HIGHER, SCORES, make_run
from tests.sealed import seal_run

TEXT = pa.string()


def run_of(
    folder: Path, kept: dict[str, str] | None = None, scores: tuple[str, ...] = ("bos_mass",)
) -> str:
    """A run of two captions whose samples carry columns and whose scores have signals."""
    ids = ("a", "b")
    fields = [SCORES.field(name) for name in ("caption_id", "seeds", "truncated")]
    fields += [column(name, pa.float32(), name).with_metadata(HIGHER) for name in scores]
    rows: list[dict[str, Any]] = [
        {"caption_id": i, "seeds": 1, "truncated": False, **dict.fromkeys(scores, 1.0 + k)}
        for k, i in enumerate(ids)
    ]
    return seal_run(
        folder,
        [{"caption_id": i, **(kept or {})} for i in ids],
        [{"caption_id": i, "caption": f"caption {i}"} for i in ids],
        pa.Table.from_pylist(rows, pa.schema(fields)),
        kept=tuple(pa.field(name, TEXT) for name in kept or ()),
    )


@pytest.mark.parametrize("name", ["URL", "url", "Url"])
def test_a_column_is_found_in_any_case(tmp_path: Path, name: str) -> None:
    tables = open_run(run_of(tmp_path, {"URL": "https://a.example/1", 'O\'Dd. "x"': "v"}))
    query = library()["by_source"]
    assert run_named_query(tables, query, {"column": name})["value"].to_pylist() == ["a.example"]
    assert run_named_query(tables, query, {"column": 'o\'dd. "X"'})["value"].to_pylist() == ["v"]
    assert run_named_query(tables, query, {"column": "SOURCE"})["value"].to_pylist() == ["s.csv"]


def test_columns_that_differ_only_in_case_are_distinguished(tmp_path: Path) -> None:
    tables = open_run(run_of(tmp_path, {"url": "https://a.example/1", "URL": "other"}))
    query = library()["by_source"]
    assert run_named_query(tables, query, {"column": "url"})["value"].to_pylist() == ["a.example"]
    assert run_named_query(tables, query, {"column": "URL_1"})["value"].to_pylist() == ["other"]
    with pytest.raises(UsageError, match="has url and URL_1"):
        run_named_query(tables, query, {"column": "URL"})


def test_an_error_for_an_unknown_column_lists_the_columns(tables: RunTables) -> None:
    with pytest.raises(UsageError, match=r"column=hos: samples has no such column; it has .*url"):
        run_named_query(tables, library()["by_source"], {"column": "hos"})


@pytest.mark.slow
def test_an_error_names_the_command_that_adds_missing_data(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    done = called("sql", run, "--name", "precision_at_depth", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"this run has no verdicts: run memscan verify {run}" in done.stderr
    done = called("sql", run, "--name", "trigger_spans", check=False)
    assert done.returncode == 1
    assert "this run has no triggers: scan with" in done.stderr


def test_whatever_a_query_needs_has_a_remedy() -> None:
    assert {name for query in library().values() for name in query.needs} <= REMEDIES.keys()


@pytest.mark.parametrize("view", [*LATER, "decisions", "reviewed", "thresholds"])
def test_a_select_of_an_empty_table_names_the_remedy(tmp_path: Path, view: str) -> None:
    run = run_of(tmp_path / "run")
    done = called("sql", run, f"FROM {view}", "--json")
    assert done.stdout == "[]\n"
    assert f"this run has no {view}: " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(library()) - {"compare", "neighbors"}))
def test_every_query_runs_or_explains_with_one_signal(tmp_path: Path, name: str) -> None:
    tables = open_run(run_of(tmp_path, scores=("bos_mass",)))
    query = library()[name]
    if query.needs:
        with pytest.raises(UserError, match="this run has no"):
            run_named_query(tables, query, {})
    else:
        assert set(query.columns) <= set(run_named_query(tables, query, {}).column_names)


NAMED_LIKE_VIEWS = (
    *("n_samples", "score", "probability", "rank_score", "rank", "reasons", "action", "signal"),
    *("filename", "file_row_number", "value", "is_flagged", "caption", "verdict", "cluster"),
    *("select", "it's", 'a "b" c', "%s {x} $y", "kept_score", "full_value", "total"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(library()) - {"neighbors"}))
def test_kept_columns_named_like_a_views_change_no_result(tmp_path: Path, name: str) -> None:
    odd = run_of(tmp_path / "odd", dict.fromkeys(NAMED_LIKE_VIEWS, "kept"))
    plain = run_of(tmp_path / "plain")
    query = library()[name]
    if query.needs:
        return
    answers = [run_named_query(open_run(run, {"other": run}), query, {}) for run in (odd, plain)]
    own = [one for one in query.columns if one in answers[1].column_names]
    assert answers[0].select(own).equals(answers[1].select(own))


def test_quantiles_of_negative_rank_scores_are_among_the_values(tmp_path: Path) -> None:
    rows = [
        {"caption_id": f"{k:03}", "caption": f"c {k}", "bos_mass": 0.1 + k / 100} for k in range(50)
    ]
    tables = open_run(make_run(tmp_path, rows))
    tables.rank_by("bos_mass")
    (row,) = [
        row
        for row in run_named_query(tables, library()["score_distribution"], {}).to_pylist()
        if row["signal"] == "rank_score"
    ]
    cuts = [row[name] for name in ("p01", "p10", "p50", "p90", "p99", "p999")]
    assert cuts == sorted(cuts)
    assert row["least"] <= cuts[0]
    assert cuts[-1] <= row["most"] == pytest.approx(-0.1)
