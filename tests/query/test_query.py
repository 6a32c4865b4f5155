import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scanner.errors import UsageError, UserError
from scanner.query import RunTables, library, open_run, rank
from scanner.run import Run
from scanner.run.schema import REJECTS, column
from scanner.storage import Store
from tests.sealed import seal_run

SCORES = pa.schema(
    [
        column("caption_id", pa.string(), "id"),
        column("entropy_e", pa.float32(), "e").with_metadata({"memorized": "higher"}),
        column("bos_mass", pa.float32(), "b").with_metadata({"memorized": "lower"}),
        column("noise_norm_first", pa.float32(), "n").with_metadata({"memorized": "higher"}),
        column("triggers", pa.list_(pa.string()), "t"),
    ]
)
ROWS = [  # id, caption, samples, entropy, bos, noise, reference
    ("a", 'it\'s a "quoted" cat', 3, 1.0, 0.9, 5.0, False),
    ("b", "dog'); DROP TABLE scores; --", 1, 3.0, 0.1, 7.0, False),
    ("c", "held out", 0, 9.0, 0.0, 9.0, True),
    ("d", "bird", 2, 2.0, 0.5, 7.0, False),
]


def make_run(folder: Path, rows: Sequence[tuple[Any, ...]] = ROWS) -> str:
    """A sealed run of captions, by default four, one of them a reference."""
    samples = [
        {"caption_id": i, "row": k, "is_reference": ref}
        for i, _, n, *_, ref in rows
        for k in range(n or 1)
    ]
    captions = [{"caption_id": i, "caption": c, "is_reference": ref} for i, c, *_, ref in rows]
    scores = [
        {"caption_id": i, "entropy_e": e, "bos_mass": b, "noise_norm_first": n, "triggers": []}
        for i, _, _, e, b, n, _ in rows
    ]
    return seal_run(folder, samples, captions, pa.Table.from_pylist(scores, SCORES))


@pytest.fixture
def tables(tmp_path: Path) -> RunTables:
    return open_run(make_run(tmp_path / "a run's folder"))


def test_views_count_samples_and_ranking_omits_references(tables: RunTables) -> None:
    found = tables.query("SELECT caption_id, n_samples FROM captions ORDER BY ALL").to_pylist()
    assert [(row["caption_id"], row["n_samples"]) for row in found] == [
        ("a", 3), ("b", 1), ("c", 0), ("d", 2),
    ]  # fmt: skip
    assert tables.query("SELECT count(*) AS n FROM rejects").to_pylist() == [{"n": 0}]
    assert tables.query("FROM rejects").schema.names == REJECTS.names
    ids = tables.query("SELECT caption_id FROM ranked ORDER BY ALL")["caption_id"].to_pylist()
    assert ids == ["a", "b", "d"]


def test_rank_orders_by_the_ranking_signal_with_ties_by_id(tables: RunTables) -> None:
    rows = rank(tables).to_pylist()
    assert [(row["rank"], row["caption_id"], row["score"]) for row in rows] == [
        (1, "b", 7.0), (2, "d", 7.0), (3, "a", 5.0),
    ]  # fmt: skip
    assert rows[0]["signal"] == "noise_norm_first"
    assert rows[0]["percentile"] == pytest.approx(2 / 3)
    assert [row["reasons"] for row in rows] == [[], [], []], "three captions have no top 1 %"


def test_reasons_without_a_calibration_are_the_top_1_percent(
    tmp_path: Path,
) -> None:
    others = [(f"e{k:03d}", f"caption {k}", 1, -9.0, 0.95, 0.1, False) for k in range(150)]
    rows = rank(open_run(make_run(tmp_path, [*ROWS, *others])), top=4).to_pylist()
    assert [(row["caption_id"], row["reasons"]) for row in rows[:3]] == [
        ("b", [f"{name} in the top 1 %" for name in ("noise_norm_first", "bos_mass", "entropy_e")]),
        ("d", [f"{name} in the top 1 %" for name in ("noise_norm_first", "bos_mass", "entropy_e")]),
        ("a", []),
    ]


def test_rank_by_a_signal_that_is_lower_for_memorized_captions(tables: RunTables) -> None:
    rows = rank(tables, by="bos_mass").to_pylist()
    assert [(row["caption_id"], row["score"]) for row in rows] == [
        ("b", pytest.approx(0.1)), ("d", 0.5), ("a", pytest.approx(0.9)),
    ]  # fmt: skip


def test_a_negative_value_keeps_its_sign(tables: RunTables) -> None:
    tables.rank_by("entropy_e")
    definition = "SELECT rank_score, rank_value FROM ranked WHERE caption_id = 'a'"
    assert tables.query(definition).to_pylist() == [{"rank_score": 1.0, "rank_value": 1.0}]
    tables.rank_by("bos_mass")
    (row,) = tables.query(definition).to_pylist()
    assert row["rank_score"] == -row["rank_value"] == pytest.approx(-0.9)


def test_rank_takes_top_where_and_min_samples(tables: RunTables) -> None:
    assert [r["caption_id"] for r in rank(tables, top=1, min_samples=2).to_pylist()] == ["d"]
    assert [r["caption_id"] for r in rank(tables, where="caption = 'bird'").to_pylist()] == ["d"]


@pytest.mark.parametrize(
    ("by", "where", "message"),
    [
        ("caption", "true", "this run has no such signal to rank by"),
        ('x" FROM scores; --', "true", "this run has no such signal"),
        (None, "true); DROP VIEW ranked; SELECT (1", "SQL"),
        (None, "no_such_column > 1", "no_such_column"),
    ],
)
def test_rank_refuses_invalid_signals_and_predicates(tables, by, where, message) -> None:
    with pytest.raises(UserError, match=message):
        rank(tables, by=by, where=where)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "DROP VIEW scores",
        "COPY (SELECT 1) TO 'out.csv'",
        "SET threads = 1",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "CREATE TABLE t AS SELECT 1",
        "",
        "SELEKT",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "FROM '/etc/passwd'",
    ],
)
def test_only_one_select_over_the_runs_own_files_is_allowed(tables: RunTables, sql: str) -> None:
    with pytest.raises(UserError, match="SQL"):
        tables.query(sql)


def test_captions_are_never_run_as_sql(tables: RunTables) -> None:
    rows = tables.query("SELECT caption FROM captions WHERE caption = $c", {"c": ROWS[1][1]})
    assert rows.to_pylist() == [{"caption": ROWS[1][1]}]


def test_an_unknown_or_wrongly_typed_parameter_is_refused() -> None:
    query = library()["rank"]
    assert query.bind({"top": "5"}) == {"top": 5, "min_samples": 0}
    with pytest.raises(UsageError, match="it has top, min_samples"):
        query.bind({"depth": "5"})
    with pytest.raises(UsageError, match="--param top=many: must be a whole number"):
        query.bind({"top": "many"})


def test_a_run_that_is_not_sealed_says_what_to_do(tmp_path: Path) -> None:
    run = Run(Store(str(tmp_path)))
    run.begin({"inputs": {}, "fingerprint": {"id": "f"}})
    with pytest.raises(UserError, match=r"not sealed yet.*memscan status"):
        open_run(str(tmp_path))


def test_json_of_a_run_is_readable_by_any_program(tmp_path: Path) -> None:
    manifest = json.loads((Path(make_run(tmp_path / "r")) / "manifest-0001.json").read_text())
    assert manifest.keys() >= {"fingerprint", "samples", "captions", "rejects", "scores"}
    assert manifest["scores"][0].keys() == {"path", "rows", "sha256"}
