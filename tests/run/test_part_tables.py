"""Parts that would take far more memory than their rows are refused before they are read."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.run.part_tables import read_part_table
from scanner.run.records import Part
from scanner.run.rejects import count_reasons
from scanner.run.results import DamagedPart
from scanner.run.schema import write_part
from scanner.storage import Store
from tests.run.planned import table_of
from tests.scan.finished import SLICES, finish, scored_run

ROWS = 500
LONG = "x" * (1 << 20)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def _written(store: Store, table: pa.Table, **options: object) -> Part:
    """Write a part as others than memscan may, and describe it rightly."""
    path = Path(store.url, "scores", "p.parquet")
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, compression="zstd", **options)
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return Part("scores", "scores/p.parquet", len(table), sha256, len(data))


def _ids() -> list[str]:
    return [f"{number:032x}" for number in range(ROWS)]


BOMBS = {
    "zeros": lambda: pa.table({"v": pa.array([bytes(1 << 20)] * 64)}),
    "a text that a dictionary repeats": lambda: pa.table(
        {"caption_id": _ids(), "r": [LONG] * ROWS}
    ),
    "a text within lists": lambda: pa.table({"t": [[{"text": LONG, "n": 1}]] * ROWS}),
    "long lists of one number": lambda: pa.table({"layers": [[1.0] * 100_000] * ROWS}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_part_that_takes_much_memory_is_refused(store: Store, name: str) -> None:
    part = _written(store, BOMBS[name](), use_dictionary=name != "zeros")
    assert part.bytes < 1 << 20
    with pytest.raises(DamagedPart, match=r"scores/p\.parquet is damaged \(it takes .* in memory"):
        read_part_table(store, part)


def test_an_encoding_that_repeats_parts_of_texts_is_refused(store: Store) -> None:
    table = pa.table({"r": [f"{LONG}{number}" for number in range(9)]})
    part = _written(store, table, use_dictionary=False, column_encoding={"r": "DELTA_BYTE_ARRAY"})
    with pytest.raises(DamagedPart, match=r"damaged \(encoded as DELTA_BYTE_ARRAY"):
        read_part_table(store, part)


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS + 1])
def test_other_rows_than_committed_are_refused(store: Store, rows: int) -> None:
    part = _written(store, pa.table({"caption_id": _ids()}))
    with pytest.raises(DamagedPart, match=f"it has 500 rows, its commit says {rows}"):
        read_part_table(store, replace(part, rows=rows))


def test_bytes_that_are_no_parquet_are_refused(store: Store) -> None:
    store.write("scores/p.parquet", b"PAR1 or not")
    sha256 = hashlib.sha256(b"PAR1 or not").hexdigest()
    with pytest.raises(DamagedPart, match=r"p\.parquet is damaged \(not readable as Parquet"):
        read_part_table(store, Part("scores", "scores/p.parquet", 1, sha256, 11))


@pytest.mark.parametrize("row_group", [None, 1, 300])
def test_ordinary_parts_are_read_as_they_were_written(store: Store, row_group: int | None) -> None:
    triggers = [[{"text": f"word {n % 7}", "mass": 0.5}] * (n % 20) for n in range(ROWS)]
    layers = [[float(n)] * 80 for n in range(ROWS)]
    texts = ["not finite: noise_norm_first" if n % 3 else None for n in range(ROWS)]
    columns = {"caption_id": _ids(), "triggers": triggers, "layers": layers, "reason": texts}
    table = pa.table(columns)
    part = write_part(store, "scores", "a", table, row_group)
    assert read_part_table(store, part).equals(table)
    empty = write_part(store, "scores", "b", table.slice(0, 0))
    assert read_part_table(store, empty).equals(table.slice(0, 0))


def test_slices_with_such_a_part_are_not_merged_but_scored_again(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run")
    good = table_of(SLICES[3])
    commit = run.commits.get(SLICES[3].id)
    assert commit is not None
    bomb = good.append_column("text", pa.array([LONG * 2] * len(good)))
    part = _written(run.store, bomb, use_dictionary=["text"])
    forged = replace(commit, parts=(part,))
    run.store.write(forged.name, forged.to_json())
    problems = finish(run)
    assert list(problems) == [SLICES[3].id]
    assert "scores/p.parquet is damaged (it takes" in problems[SLICES[3].id]


@pytest.mark.slow
def test_reasons_are_counted_without_repeating_their_texts(store: Store) -> None:
    table = pa.table({"reason": [f"too long: {LONG}"] * ROWS + ["empty caption"]})
    part = _written(store, table, use_dictionary=True)
    assert count_reasons(store, [part.path]) == {"too long": ROWS, "empty caption": 1}
