"""Files that take far more memory than their size, or were changed, stop a purge with an error."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions import row_groups
from scanner.curation.name_lists import NameList
from scanner.curation.purging import purge, reading
from scanner.errors import UserError
from scanner.run import Run
from scanner.run.records import Commit, Part
from scanner.run.verdicts import FOLDER, TABLES, verdict_commits
from scanner.storage import Store
from tests.curation.runs import loudness, make_run, write_rows

LONG = "x" * (1 << 20)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(row_groups, "ROW_GROUP_BYTES", 8 << 20)
    monkeypatch.setattr(reading, "TEXT_BYTES", 1 << 20)
    data = write_rows(tmp_path / "data.jsonl", [("loud", "u1"), ("quiet", "u2")])
    (tmp_path / "list.txt").write_text("u1\n")
    return make_run(tmp_path / "run", loudness, captions=(str(data),))


def bomb(run: str, path: str, table: pa.Table, **options: object) -> Part:
    Path(run, path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, Path(run, path), compression="zstd", **options)
    data = Path(run, path).read_bytes()
    assert len(data) < 1 << 20
    return Part("", path, len(table), hashlib.sha256(data).hexdigest(), len(data))


def in_samples(run: str) -> None:
    (path,) = Path(run, "samples").iterdir()
    table = pq.read_table(path)
    wide = table.append_column("wide", pa.array([LONG] * len(table)))
    bomb(run, f"samples/{path.name}", pa.concat_tables([wide] * 40))


def in_rows(run: str) -> None:
    """More rows than memory holds, all null, in a few bytes."""
    (path,) = Path(run, "samples").iterdir()
    schema, rows = pq.read_schema(path), 1 << 20
    nulls = pa.table([pa.nulls(rows, field.type) for field in schema], schema=schema)
    bomb(run, f"samples/{path.name}", pa.concat_tables([pq.read_table(path), nulls]))


def in_verdicts(run: str) -> None:
    table = pa.table({"caption_id": ["a"] * 50, "caption": [LONG] * 50})
    part = bomb(run, f"{FOLDER}/{TABLES}/one.parquet", table)
    commit = Commit("one", 0, "a", "", (part,), 0.0)
    verdict_commits(Store(run)).store.write(f"{FOLDER}/commits/one.0.json", commit.to_json())


def in_decisions(run: str) -> None:
    part = bomb(run, "decisions/parts/one.parquet", pa.table({"note": [LONG] * 50}))
    commit = Commit("00000000", 0, "a", "", (part,), 0.0)
    Store(run).write("decisions/commits/00000000.0.json", commit.to_json())


def changed(run: str) -> None:
    (path,) = Path(run, "scores").iterdir()
    pq.write_table(pq.read_table(path), path, compression="none")


CASES: dict[str, tuple[Callable[[str], None], str]] = {
    "samples": (in_samples, r"samples/.*over 8 MiB in memory"),
    "rows": (in_rows, r"samples/.*over 8 MiB in memory"),
    "verdicts": (in_verdicts, r"verdicts/.* is damaged \(it takes .* in memory"),
    "decisions": (in_decisions, r"decisions/.* is damaged \(it takes .* in memory"),
    "changed": (changed, r"scores/.* is damaged"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_damaged_file_stops_a_purge_before_it(case: str, run: str) -> None:
    spoil, message = CASES[case]
    spoil(run)
    before = Run.existing(run).newest_manifest()
    lists = [NameList("gone", str(Path(run).parent / "list.txt"))]
    with pytest.raises(UserError, match=message):
        purge(run, lists)
    assert Run.existing(run).newest_manifest() == before
    assert not Path(run, "purging").exists()
