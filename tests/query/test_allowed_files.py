"""A run is read correctly, and only its files, at any path."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.errors import UserError
from scanner.query import open_run, rank
from scanner.run import Run
from scanner.run.commits import Output
from scanner.run.schema import samples_schema
from scanner.run.verdicts import FOLDER, TABLES, VERDICTS, verdict_commits
from scanner.storage import Store
from tests.query.questions import named_rows
from tests.query.runs import make_run

ROWS = [
    {"caption_id": "a", "caption": "cat", "n_samples": 3, "url": "u/1", "noise_norm_first": 2.0},
    {"caption_id": "b", "caption": "dog", "n_samples": 2, "url": "u/2", "noise_norm_first": 1.0},
    {"caption_id": "c", "caption": "held", "is_reference": True, "noise_norm_first": 3.0},
]
HIVE = (
    *("source=laion", "caption_id=a", "is_reference=true", "row=7", "url=x", "caption=y"),
    *("key=k", "entropy_e=1", "verdict=none"),
)
GLOBS = ("*", "**", "a*b", "a?b", "[1]", "[", "x[!a]", "{a,b}", "a=[b]*")
ODD = (
    "sp ace",
    "it's",
    'q"uote',
    "%20",
    "50%",
    "#h",
    "ünïcode 猫",
    "a\\b",
    "a;b",
    "~",
    "$HOME",
    "-",
)
KEY = "caption_id=x/is_reference=true/[1]/a*b?{a,b}/sp ace %20#h/ü"


def check(run: str) -> None:
    """Every view holds the run's own rows."""
    tables = open_run(run)
    rows = tables.query(
        'SELECT caption_id, source, "row", url, is_reference FROM samples ORDER BY ALL'
    ).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("a", "s.csv", 0, "u/1", False),
        ("a", "s.csv", 1, "u/1", False),
        ("a", "s.csv", 2, "u/1", False),
        ("b", "s.csv", 0, "u/2", False),
        ("b", "s.csv", 1, "u/2", False),
        ("c", "s.csv", 0, None, True),
    ]
    ranked = [(row["caption_id"], row["n_samples"]) for row in rank(tables).to_pylist()]
    assert ranked == [("a", 3), ("b", 2)]
    assert tables.query("FROM scores").num_rows == 3
    assert tables.query("FROM captions").column_names == [
        *("caption_id", "caption", "canonical", "is_reference", "n_samples"),
    ]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs in every folder name beside one another, so that a pattern would match others."""
    folder = tmp_path_factory.mktemp("odd names")
    for name in (*HIVE, *GLOBS, *ODD, "ab", "aXb", "1", "a"):
        make_run(folder / name / "run", ROWS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [*HIVE, *GLOBS, *ODD])
def test_a_run_in_a_folder_of_any_name_is_read(disk: Path, name: str) -> None:
    check(str(disk / name / "run"))


def test_a_folder_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9=\xff")
    make_run(folder / "run", ROWS)
    check(str(folder / "run"))


def test_runs_under_any_key_of_a_bucket_are_read(disk: Path, s3: str) -> None:
    here, other = f"{s3}/{KEY}/run", f"{s3}/url=[x]*/run"
    make_run(here, ROWS)  # type: ignore[arg-type]
    make_run(other, ROWS[:1])  # type: ignore[arg-type]
    others = {"one": other, "two": str(disk / "a*b" / "run")}
    found = open_run(here, others).query(
        """SELECT caption_id, source, url, is_reference, n_samples,
                  (SELECT count(*) FROM one.samples) AS one,
                  (SELECT count(DISTINCT url) FROM two.samples) AS two
           FROM samples LEFT JOIN (SELECT caption_id, n_samples FROM ranked) USING (caption_id)
           ORDER BY ALL"""
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        *[("a", "s.csv", "u/1", False, 3, 3, 2)] * 3,
        *[("b", "s.csv", "u/2", False, 2, 3, 2)] * 2,
        ("c", "s.csv", None, True, None, 3, 2),
    ]


def test_an_encoded_name_opens_only_the_runs_files(disk: Path) -> None:
    tables = open_run(str(disk / "[1]" / "run"))
    for path in ("run:///etc/passwd", "/etc/passwd", f"{disk}/a/run/samples/p.parquet"):
        with pytest.raises(UserError, match="SQL"):
            tables.query(f"FROM read_parquet('{path}')")


def _extend(run: str, name: str, rows: list[dict], kept: list[pa.Field]) -> None:
    """As a later plan that keeps other columns writes its samples."""
    folder = Path(run)
    usual = {"source": "t.csv", "row": 0, "is_reference": False}
    table = pa.Table.from_pylist([usual | row for row in rows], samples_schema(kept))
    pq.write_table(table, folder / "samples" / f"{name}.parquet")
    manifest = Run.existing(run).manifest()
    assert manifest
    manifest["samples"].append(f"samples/{name}.parquet")
    Run.existing(run).store.write("manifest-0002.json", _json(manifest))
    (folder / "plan-0002.json").write_text("{}")


def _json(record: dict) -> bytes:
    from scanner.run.records import encode

    return encode(record)


def test_a_kept_column_is_null_in_the_parts_without_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ROWS)
    _extend(run, "q", [{"caption_id": "a", "license": "cc"}], [pa.field("license", pa.string())])
    tables = open_run(run)
    found = tables.query("SELECT url, license, count(*) AS n FROM samples GROUP BY ALL ORDER BY n")
    assert sorted(map(str, found.to_pylist())) == sorted(
        map(
            str,
            [
                {"url": None, "license": "cc", "n": 1},
                {"url": None, "license": None, "n": 1},
                {"url": "u/2", "license": None, "n": 2},
                {"url": "u/1", "license": None, "n": 3},
            ],
        )
    )
    assert named_rows(tables, "by_source", column="license")
    assert len(named_rows(tables, "cap_duplicates")) == 4


def test_verdicts_of_a_release_with_fewer_measures_are_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ROWS)
    old = pa.schema([field for field in VERDICTS if field.name not in ("reason", "picture")])
    for name, schema in (("aaa", old), ("bbb", VERDICTS)):
        row = {"caption_id": name[0], "verdict": "verbatim", "verified_at": 1.0}
        table = pa.Table.from_pylist([row], schema)
        verdict_commits(Store(run), FOLDER).commit(name, [Output(f"{FOLDER}/{TABLES}", table)])
    found = open_run(run).query("SELECT caption_id, reason, picture FROM verdicts ORDER BY ALL")
    assert found["caption_id"].to_pylist() == ["a", "b"]
