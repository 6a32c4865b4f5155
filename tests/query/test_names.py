"""Names of columns in a run's files are names, never SQL."""

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.curation import read_policy
from scanner.errors import UserError
from scanner.query import Calibration, binding_of, identifier, library, open_run, run_named_query
from scanner.query.quoting import literal
from scanner.report import gather
from scanner.run import Output
from scanner.run.schema import column
from scanner.run.verdicts import FOLDER, MITIGATED, MITIGATED_FOLDER, VERDICTS, verdict_commits
from scanner.storage import Store
from tests.memscan import called
from tests.query.runs import HIGHER
from tests.query.test_named_queries import run_of
from tests.sealed import seal_run

PLANT = "COPY (SELECT 'x') TO 'PLACE/planted' (FORMAT csv)"
HOSTILE = (
    f'x" AS SELECT 1; {PLANT} --',
    f'x\'}}] AS by_signal FROM "main".scores AS scores; {PLANT}; -- ',
    f"x') FROM scores; {PLANT}; --",
    f'x"), (SELECT 1) AS y FROM samples; {PLANT}; --',
    'x" AS a, * FROM samples; DROP VIEW scores; --',
    *("it's", '"', "'", "$1", "%s", "{samples}", "a;b", "a--b", "/*", "*", "ключ", "e\u202evil"),
    *("a\nb", "\\", "select", "caption_id_1", "x" * 300, " "),
)


def spoken(name: str, place: Path) -> str:
    return name.replace("PLACE", str(place))


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_run_whose_scores_have_a_hostile_column_is_refused(tmp_path: Path, name: str) -> None:
    evil = spoken(name, tmp_path)
    fields = [column("caption_id", pa.string(), "id")]
    fields += [column(each, pa.float32(), "n").with_metadata(HIGHER) for each in ("bos_mass", evil)]
    rows = [{"caption_id": "a", "bos_mass": 1.0, evil: 0.0}]
    scores = pa.Table.from_pylist(rows, pa.schema(fields))
    run = seal_run(
        tmp_path / "run", [{"caption_id": "a"}], [{"caption_id": "a", "caption": "c"}], scores
    )
    if name in ("select", "caption_id_1"):
        assert open_run(run).rank_by(name) == name
        return
    for command in (
        ("rank", run),
        ("sql", run, "FROM scores"),
        ("curate", run, "--out", f"{run}-c"),
    ):
        done = called(*command, check=False)
        assert done.returncode == 1
        (line,) = [each for each in done.stderr.splitlines() if each.startswith("memscan")]
        assert f"column {evil[:30]!r}"[:-1] in line
        assert done.stderr.count("\n") <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("names", [("bos_mass", "BOS_MASS"), ("rank_score",), ("n_samples",)])
def test_score_columns_must_have_unique_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"column '\w+' is refused: the name is already used"):
        open_run(run_of(tmp_path, scores=names))


def test_samples_may_keep_columns_of_any_name(tmp_path: Path) -> None:
    names = [spoken(name, tmp_path) for name in HOSTILE]
    run = run_of(tmp_path / "run", dict.fromkeys(names, "value"), ("noise_norm_first",))
    tables = open_run(run)
    assert set(names) <= set(tables.query("FROM samples").column_names)
    assert called("rank", run, "--json").returncode == 0
    assert called("sql", run, "FROM samples", "--json").stdout.count('"value"') == 2 * len(names)
    for name in names:
        (row,) = run_named_query(tables, library()["by_source"], {"column": name}).to_pylist()
        assert row["value"] == "value"
    curated = str(tmp_path / "list")
    called("curate", run, "--out", curated, "--image-key", names[0], "--force")
    kept = pq.read_schema(tmp_path / "list" / "removal_list.parquet").names
    assert {name for name in names if name.lower() != "caption_id_1"} <= set(kept)
    called("calibrate", run, "--null", "bulk", "--json", check=False)
    gather(run, tables, read_policy("default"), None, 10)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "list"}


@pytest.mark.slow
@pytest.mark.parametrize("folder", [FOLDER, MITIGATED_FOLDER])
def test_hostile_column_names_of_verdicts_run_no_sql(tmp_path: Path, folder: str) -> None:
    names = [spoken(name, tmp_path) for name in HOSTILE if name != "caption_id_1"]
    taken = ["VERDICT", "Caption_ID", "cluster", "decision", "probability", "p_value"]
    taken += ["rank", "rank_score"]
    run = run_of(tmp_path / "run", scores=("noise_norm_first", "entropy_e"))
    schema = MITIGATED if folder == MITIGATED_FOLDER else VERDICTS
    row = {"caption_id": "a", "verdict": "verbatim", "n_references": 1, "verified_at": 1.0}
    table = pa.Table.from_pylist([row], schema)
    for name in [*names, *taken, "x" * 10_000]:
        table = table.append_column(name, pa.array(["other"]))
    commits = verdict_commits(Store(run), folder)
    commits.commit("v", [Output(f"{folder}/tables", table)], notes={"verified_at": 1.0})
    view = folder if folder == "mitigated" else "verdicts"
    assert open_run(run).query(f"SELECT verdict FROM {view}").to_pylist() == [
        {"verdict": "verbatim"}
    ]
    for command in (("rank", run), ("sql", run, f"FROM {view}", "--json")):
        called(*command)
    called("curate", run, "--out", str(tmp_path / "list"), "--force")
    tables = open_run(run)
    gather(run, tables, read_policy("default"), None, 10)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "list"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a\0b", ""])
def test_a_verdict_column_that_sql_cannot_name_is_an_error(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path)
    table = pa.table({"caption_id": ["a"], "verdict": ["none"], "verified_at": [1.0], name: ["x"]})
    verdict_commits(Store(run)).commit("v", [Output(f"{FOLDER}/tables", table)])
    for command in (("rank", run), ("sql", run, "FROM verdicts")):
        done = called(*command, check=False)
        assert done.returncode in (0, 1)
        assert done.stderr.count("\n") <= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference_source", "images", "verdict", "verified_at"])
def test_verdicts_of_other_types_are_refused_or_cast(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path / "run", scores=("noise_norm_first", "entropy_e"))
    columns = {"caption_id": ["a"], "verdict": ["none"], "verified_at": [1.0], name: [{"a": 1}]}
    commits = verdict_commits(Store(run))
    commits.commit("v", [Output(f"{FOLDER}/tables", pa.table(columns))])
    for command in ("rank", "report"):
        done = called(command, run, "--out", str(tmp_path / "out.csv"), check=False)
        assert done.returncode in (0, 1)
        assert done.stderr.count("\n") < 12


def test_quoting_round_trips_every_representable_name() -> None:
    choose = random.Random(0)
    letters = "\"'\\;-/*$%{}()[] \n\t\x01aA1_é漢😀\u202e"
    names = ["".join(choose.choices(letters, k=choose.randint(1, 12))) for _ in range(500)]
    with duckdb.connect() as connection:
        for name in names:
            sql = f"SELECT {literal(name)} AS {identifier(name)}"
            assert len(connection.extract_statements(sql)) == 1
            found = connection.sql(sql)
            assert (found.columns, found.fetchall()) == ([name], [(name,)])


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
def test_names_that_sql_cannot_represent_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="SQL cannot name"):
        identifier(name)


@pytest.mark.parametrize("name", ["Scores", "MAIN", "memory", "x y", 'x" AS', "1x", "x;"])
def test_another_run_is_attached_by_a_plain_free_name(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path)
    with pytest.raises(UserError, match="cannot name a run"):
        open_run(run, {name: run})


def test_scores_that_are_not_parquet_are_a_one_line_error(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    for part in (tmp_path / "run" / "scores").iterdir():
        part.write_bytes(b"PAR1 nothing")
    done = called("rank", run, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "not a Parquet file" in done.stderr


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_of_a_calibration_must_be_finite(tmp_path: Path, weight: float) -> None:
    run = run_of(tmp_path)
    binding = binding_of({"id": "f"})
    calibration = Calibration("file", binding, {"bos_mass": (weight,)}, 0.0, ())
    with pytest.raises(UserError, match="file: weights must be finite"):
        open_run(run, calibration=calibration)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_calibration_names_columns_of_the_run(tmp_path: Path, name: str) -> None:
    calibration = Calibration("file", binding_of({"id": "f"}), {name: (1.0,)}, 0.0, ())
    with pytest.raises(UserError, match="file: the run has no column"):
        open_run(run_of(tmp_path), calibration=calibration)
