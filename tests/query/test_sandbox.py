"""User SQL can only read the run's tables."""

from pathlib import Path

import pyarrow as pa
import pytest

from scanner.errors import UserError
from scanner.query import RunTables, rank

CHANGES = "must only read; "
ONE = "must be exactly one SELECT, got"
FORBIDDEN = r"\w+\(\) is not allowed"
FOREIGN = "the run has no table"
HOSTILE = {
    # It changes something.
    "WITH d AS (DELETE FROM thresholds RETURNING *) SELECT * FROM d": CHANGES,
    "WITH d AS (INSERT INTO rejects FROM rejects RETURNING *) FROM d": CHANGES,
    "WITH d AS (UPDATE thresholds SET signal = 'x' RETURNING *) FROM d": CHANGES,
    "FROM (WITH d AS (DELETE FROM thresholds RETURNING *) FROM d)": CHANGES,
    "WITH d AS (COPY scores TO 'PLACE/planted') FROM d": CHANGES,
    "WITH a AS (WITH b AS (COPY scores TO 'PLACE/planted') FROM b) FROM a": CHANGES,
    "DELETE FROM thresholds": f"{ONE} DELETE",
    "INSERT INTO thresholds FROM thresholds": f"{ONE} INSERT",
    "MERGE INTO thresholds USING scores ON true WHEN MATCHED THEN DELETE": f"{ONE} MERGE_INTO",
    "CREATE MACRO f() AS 1": f"{ONE} CREATE",
    "CREATE SEQUENCE s": f"{ONE} CREATE",
    "DROP VIEW scores": f"{ONE} DROP",
    "ALTER VIEW scores RENAME TO other": f"{ONE} ALTER",
    # It is more than a SELECT.
    "SELECT 1; SELECT 2": f"{ONE} SELECT, SELECT",
    "SELECT 1; COPY scores TO 'PLACE/planted'": f"{ONE} SELECT, COPY",
    "COPY scores TO 'PLACE/planted'": f"{ONE} COPY",
    "EXPORT DATABASE 'PLACE/planted'": f"{ONE} EXPORT",
    "ATTACH 'PLACE/planted' AS other": f"{ONE} ATTACH",
    "INSTALL httpfs": f"{ONE} LOAD",
    "LOAD httpfs": f"{ONE} LOAD",
    "PRAGMA enable_profiling": f"{ONE} PRAGMA",
    "CALL pragma_version()": f"{ONE} CALL",
    "SET threads = 1": f"{ONE} SET",
    "RESET memory_limit": f"{ONE} ",
    "PREPARE p AS SELECT 1": f"{ONE} PREPARE",
    "EXECUTE p": f"{ONE} EXECUTE",
    "EXPLAIN ANALYZE SELECT 1": f"{ONE} EXPLAIN",
    "BEGIN": f"{ONE} TRANSACTION",
    "CHECKPOINT": f"{ONE} ",
    "VACUUM": f"{ONE} ",
    "": f"{ONE} no statement",
    # It reads what is not the run's.
    "FROM read_text('/etc/passwd')": FORBIDDEN,
    "FROM read_blob('/etc/passwd')": FORBIDDEN,
    "FROM read_csv('/etc/passwd')": FORBIDDEN,
    "FROM read_json('/etc/passwd')": FORBIDDEN,
    "FROM read_parquet('PLACE/*')": FORBIDDEN,
    "FROM parquet_metadata('PLACE/x.parquet')": FORBIDDEN,
    "FROM parquet_scan('https://example.com/x.parquet')": FORBIDDEN,
    "FROM sniff_csv('/etc/passwd')": FORBIDDEN,
    "FROM read_duckdb('PLACE/x.db')": FORBIDDEN,
    "FROM glob('/*')": FORBIDDEN,
    "SELECT (SELECT max(content) FROM read_text('/etc/passwd'))": FORBIDDEN,
    "FROM scores WHERE caption_id IN (SELECT file FROM glob('/*'))": FORBIDDEN,
    "FROM scores, LATERAL read_text(caption_id)": FORBIDDEN,
    "FROM main.read_text('/etc/passwd')": FORBIDDEN,
    "FROM READ_TEXT('/etc/passwd')": FORBIDDEN,
    "FROM query('SELECT 1')": FORBIDDEN,
    "FROM query_table('/etc/passwd')": FORBIDDEN,
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))": FORBIDDEN,
    "FROM arrow_scan(1, 2, 3)": FORBIDDEN,
    "FROM duckdb_secrets()": FORBIDDEN,
    "FROM duckdb_settings()": FORBIDDEN,
    "FROM enable_logging(storage_path := 'PLACE/planted')": FORBIDDEN,
    "FROM pragma_version()": FORBIDDEN,
    "FROM '/etc/passwd'": FOREIGN,
    "FROM 'PLACE/x.parquet'": FOREIGN,
    "FROM 'https://example.com/x.csv'": FOREIGN,
    "DESCRIBE 'PLACE/x.parquet'": FOREIGN,
    "FROM pg_settings": FOREIGN,
    "FROM duckdb_logs": FOREIGN,
    "FROM secret": "Table with name secret does not exist",
    "SELECT getenv('HOME')": FORBIDDEN,
    "SELECT current_setting('temp_directory')": FORBIDDEN,
    "SELECT getvariable('x')": FORBIDDEN,
    "SELECT nextval('s')": FORBIDDEN,
    "SELECT write_log('x')": FORBIDDEN,
    "SELECT sleep_ms(100000)": FORBIDDEN,
    "SELECT pg_sleep(100)": FORBIDDEN,
    f"SELECT {'[' * 500}1{']' * 500}": "nested",
}
HARMLESS = (
    *("SHOW TABLES", "DESCRIBE scores", "SUMMARIZE scores", "VALUES (1), (2)", "TABLE scores"),
    "PIVOT scores ON truncated IN (true, false) USING count(*)",
    "UNPIVOT scores ON entropy_e, bos_mass",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) FROM n",
    'WITH "a/b" AS (SELECT 1) FROM "a/b"',
    "SELECT random(), uuid(), now(), unnest([1, 2]), list_transform([1], lambda x: x + 1)",
    "FROM scores ASOF JOIN thresholds ON entropy_e >= threshold USING SAMPLE 50 %",
    "SELECT caption_id, lag(entropy_e) OVER (ORDER BY caption_id) FROM scores LIMIT 50 %",
    "FROM near_duplicates((SELECT list({id: caption_id, text: caption}) FROM captions))",
    "FROM json_each('[1]'), range(3), information_schema.tables; -- that is all",
)
PREDICATES = (
    *("true) UNION ALL (SELECT * FROM ranked WHERE true", "true); DROP VIEW ranked; --"),
    *("true) OR (true", "/*", "true LIMIT 1", "true ORDER BY 1", "true --\n) FROM scores WHERE (1"),
    *("caption_id IN (FROM glob('/*'))", "getenv('HOME') = ''"),
    *("(SELECT count(*) FROM read_text('/etc/passwd')) = 1", "SELECT 1", "x AS y", ""),
    "(WITH d AS (DELETE FROM thresholds RETURNING 1) SELECT count(*) FROM d) = 0",
)


@pytest.mark.slow
@pytest.mark.parametrize("sql", HOSTILE)
def test_sql_that_does_more_than_read_the_run_is_refused(
    tables: RunTables, tmp_path: Path, sql: str
) -> None:
    secret = pa.table({"a": [1]})
    with pytest.raises(UserError, match=HOSTILE[sql]) as refusal:
        tables.query(sql.replace("PLACE", str(tmp_path)))
    assert len(secret) == 1
    assert "\n" not in str(refusal.value) or "secret" in sql
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("sql", HARMLESS)
def test_any_select_of_the_runs_tables_is_allowed(tables: RunTables, sql: str) -> None:
    tables.query(sql)


@pytest.mark.slow
@pytest.mark.parametrize("predicate", PREDICATES)
def test_a_predicate_is_one_read_only_expression(tables: RunTables, predicate: str) -> None:
    with pytest.raises(UserError, match="--where"):
        rank(tables, where=predicate)
    assert len(rank(tables)) > 0


def test_a_predicate_may_have_subqueries_and_a_comment(tables: RunTables) -> None:
    where = "caption_id IN (SELECT caption_id FROM scores WHERE truncated) -- one"
    assert rank(tables, where=where)["caption_id"].to_pylist() == ["d"]


def test_create_table_checks_its_query(tables: RunTables) -> None:
    with pytest.raises(UserError, match=CHANGES):
        tables.create_table("kept", next(iter(HOSTILE)), {})
    with pytest.raises(UserError, match=ONE):
        tables.create_table("kept", "SELECT 1; DROP VIEW scores", {})


def test_duckdb_itself_refuses_to_write_or_to_open_other_files(
    tables: RunTables, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    for sql, reason in {
        "CREATE TABLE planted AS SELECT 1": "read-only",
        "DELETE FROM thresholds": "base table",
        f"FROM read_csv('{tmp_path}/x.csv')": "disabled by configuration",
        f"COPY (SELECT 1) TO '{tmp_path}/planted'": "disabled by configuration",
        "SET enable_external_access = true": "configuration has been locked",
        "INSTALL httpfs": "disabled",
    }.items():
        with tables.connection.cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            with pytest.raises(Exception, match=reason):
                cursor.execute(sql)
    assert not (tmp_path / "planted").exists()
