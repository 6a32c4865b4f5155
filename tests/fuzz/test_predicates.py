"""Predicates and queries by others: one expression, one SELECT, or refused; never more."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import strategies as st

from scanner.curation.matching import Matching
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from tests.curation.runs import policy, rule
from tests.fuzz.conftest import Explore
from tests.fuzz.files import TEXT
from tests.query.runs import make_run

PIECES = (
    "entropy_e > 1", "caption LIKE 'a%'", "n_samples", "true", "NULL", "(", ")", "'", '"', "--",
    "/*", "*/", ";", ",", "\n", " ", " AND ", " OR ", "NOT ", "1", "= 1", "$$", "$1", "?", "x'00'",
    "CASE WHEN", " END", "SELECT 1", "(SELECT 1)", "COLUMNS(*)", "unnest([1, 2])",
    " FROM ranked", " UNION ALL SELECT 2",
    " INTO ", "COPY ranked TO 'out.csv'", "read_csv('/etc/hostname')", "(FROM '/etc/hostname')",
    "count(*)", "sum(n_samples) OVER ()", "*", "::BOOLEAN", "[1]", "{'a': 1}",
    " AS x", " x -> x", "WITH t AS (SELECT 1) ", "DELETE FROM ranked", "getenv('HOME')", "\x00",
    "e'\\x00'", "U&'\\0000'", "“", "é", "\ufeff", "#1", "@x", ":x", "LIMIT 1", "pragma_version()",
)  # fmt: skip


def soup() -> st.SearchStrategy[str]:
    """What looks like SQL, and text that does not."""
    return st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | TEXT


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> RunTables:
    rows = [
        {"caption_id": name * 32, "caption": name, "entropy_e": value, "bos_mass": 0.5}
        for name, value in (("a", 0.5), ("b", 1.0), ("c", 1.5))
    ]
    return open_run(make_run(tmp_path_factory.mktemp("predicates") / "run", rows))


def test_an_accepted_predicate_stays_one_column(explore: Explore, tables: RunTables) -> None:
    """Whatever is accepted stands inside the longer statement that it is written for."""

    def check(predicate: str) -> None:
        try:
            tables.parse_predicate(predicate, "when")
            found = tables.query(
                f"SELECT 1 AS before, ({predicate}\n) AS p, 2 AS after FROM ranked"
            )
        except UserError:
            return
        assert found.column_names == ["before", "p", "after"]
        assert set(found["before"].to_pylist()) <= {1}
        assert set(found["after"].to_pylist()) <= {2}

    explore(check, predicate=soup())


@pytest.mark.slow
def test_a_rule_holds_for_a_caption_once_or_is_refused(explore: Explore, tables: RunTables) -> None:
    def check(predicate: str) -> None:
        rules = [rule("one", predicate or "x", "drop"), rule("two", "entropy_e > 1", "keep")]
        try:
            Matching(tables, policy(*rules))
        except UserError:
            return
        found = tables.query("SELECT caption_id, rules FROM matched").to_pylist()
        assert len({row["caption_id"] for row in found}) == len(found)
        assert {tuple(row["rules"]) for row in found} <= {(1,), (2,), (1, 2)}
        assert [row["caption_id"][0] for row in found if 2 in row["rules"]] == ["c"]

    many = ("COLUMNS(*) IS NOT NULL", "unnest([true, entropy_e > 1])", "unnest([true]) OR true")
    explore(check, [{"predicate": predicate} for predicate in many], predicate=soup())


def test_a_where_only_leaves_rows_out(explore: Explore, tables: RunTables) -> None:
    whole = tables.query("FROM ranked").to_pylist()

    def check(predicate: str) -> None:
        try:
            tables.decide(where=predicate)
            found = tables.query("FROM ranked").to_pylist()
        except UserError:
            return
        finally:
            tables.decide()
        assert all(row in whole for row in found)
        assert len(found) <= len(whole)

    explore(check, predicate=soup())


def test_a_query_answers_or_is_refused(
    explore: Explore, tables: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = tables.query("FROM ranked").to_pylist()

    def check(sql: str) -> None:
        with contextlib.suppress(UserError):
            tables.query(sql)
        assert tables.query("FROM ranked").to_pylist() == whole
        assert list(tmp_path.iterdir()) == []

    explore(check, sql=soup() | soup().map(lambda text: f"SELECT {text}"))
