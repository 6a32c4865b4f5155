"""Unusual data: every row is a sample or a reject, and oddities are logged."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.lines import UNCLOSED_ROWS
from scanner.captions.webdataset import SKIPPED
from scanner.run import Plan
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.sizes import DEFAULT_SIZES, PlanSizes
from scanner.scan.scan import log_notes
from scanner.storage import Store
from tests.logs import logged


def _planned(
    tmp_path: Path, sizes: PlanSizes = DEFAULT_SIZES, **options
) -> tuple[Plan, list[dict]]:
    config = ScanConfig(out=str(tmp_path / "run"), **options)
    store = Store(config.out)
    plan = make_plan(choose_inputs(config), store, lambda: str.strip, lambda _: 1000, sizes=sizes)
    tables = [pq.read_table(tmp_path / "run" / name) for name in plan.samples]
    return plan, pa.concat_tables(tables).to_pylist()


def _logged_notes(plan: Plan) -> list[str]:
    with logged() as lines:
        log_notes(plan)
    return lines


def test_rejects_for_quotes_are_counted_by_line_and_logged(tmp_path: Path) -> None:
    lines = [f"{chr(34) * (k % 100 == 0)}caption {k},{k}\n" for k in range(1000)]
    (tmp_path / "a.csv").write_text("caption,key\n" + "".join(lines))
    plan, samples = _planned(tmp_path, captions=(str(tmp_path / "a.csv"),))
    assert (plan.counts["rows"], plan.counts["rejects"], len(samples)) == (1000, 10, 990)
    assert _logged_notes(plan) == [f"{tmp_path / 'a.csv'}: 10 {UNCLOSED_ROWS}"]


def test_the_planned_quoting_is_kept_per_file(tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir()
    (data / "a.tsv").write_text('caption\turl\n"stray\tu\n')
    (data / "b.csv").write_text("caption,url\nc,v\n")
    for option, expected in (("auto", {"needed", "standard"}), ("none", {"none"})):
        plan, samples = _planned(tmp_path / option, captions=(str(data),), quoting=option)
        assert {columns["quoting"] for columns in plan.columns.values()} == expected
        assert len(samples) == 2


@pytest.mark.parametrize("column", [None, "caption"])
def test_a_caption_missing_in_json_is_read_from_txt(tmp_path: Path, column: str | None) -> None:
    records: list[dict] = [{"caption": "json 0"}, {"caption": None}, {"other": 1}, {"caption": 7}]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in [
            ("README.md", b"about"),
            *((f"{k}.{end}", data) for k, record in enumerate(records)
              for end, data in (("json", json.dumps(record).encode()), ("txt", b"txt %d" % k))),
        ]:  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    plan, samples = _planned(
        tmp_path, captions=(str(tmp_path / "a.tar"),), caption_column=column and (column,)
    )
    assert [row["key"] for row in samples] == ["0", "1", "2"]
    captions = pq.read_table(tmp_path / "run" / plan.captions[0])["caption"].to_pylist()
    assert sorted(captions) == ["json 0", "txt 1", "txt 2"]
    (reject,) = pq.read_table(tmp_path / "run" / plan.rejects[0]).to_pylist()
    assert reject["reason"] == "caption must be text, got number"
    assert _logged_notes(plan) == [f"{tmp_path / 'a.tar'}: 1 {SKIPPED}"]


def test_keys_and_kept_columns_of_any_type_are_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "caption": ["a", "b"],
            "id": [1581282014547.0, None],
            "url": pa.array([2**50, 0], pa.timestamp("s")),
            "when": pa.array([1, None], pa.duration("ns")),
            "box": [{"x": [1, 2]}, None],
            "raw": [b"\xff", b"ok"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    keep = ("url", "when", "box", "raw")
    _, samples = _planned(tmp_path, captions=(str(tmp_path / "a.parquet"),), keep=keep)
    rows = [{name: row[name] for name in ("key", "when", "box", "raw")} for row in samples]
    assert rows == [
        {"key": "1581282014547", "when": "1", "box": '{"x": [1, 2]}', "raw": "ff"},
        {"key": None, "when": None, "box": None, "raw": "ok"},
    ]
    assert len({row["url"] for row in samples}) == 2


@pytest.mark.slow
def test_long_captions_are_grouped_in_more_ranges(tmp_path: Path) -> None:
    texts = [f"{n} {'long ' * 1000}" for n in range(100)]
    (tmp_path / "a.txt").write_text("\n".join(texts * 2))
    captions = []
    for size in (1 << 30, 50_000):
        run = tmp_path / str(size)
        sizes = PlanSizes(range_bytes=size)
        plan, _ = _planned(run, sizes, captions=(str(tmp_path / "a.txt"),))
        tables = [pq.read_table(run / "run" / name) for name in plan.captions]
        captions.append(pa.concat_tables(tables).sort_by("caption_id"))
        ranges = len(list((run / "run/planning/0000/group").iterdir()))
        assert ranges == 1 if size == 1 << 30 else ranges > 10
    assert captions[0].equals(captions[1])
    assert captions[0].num_rows == 100


def test_a_named_column_that_is_always_null_is_logged(tmp_path: Path) -> None:
    rows = [{"caption": f"c{n}", "url": f"u{n}"} for n in range(1200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keep = ("url", "ulr")
    plan, samples = _planned(tmp_path, captions=(str(tmp_path / "a.jsonl"),), keep=keep)
    assert {row["ulr"] for row in samples} == {None}
    (note,) = _logged_notes(plan)
    assert "1,200 rows, in all of which ulr is null" in note


def test_notes_on_many_files_are_cut_short(tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir()
    for k in range(8):
        (data / f"{k}.csv").write_text('caption,key\na,1\n"b,2\n')
    plan, _ = _planned(tmp_path, captions=(str(data),))
    assert _logged_notes(plan)[5:] == ["… and 3 more notes, see plan.json"]


def test_a_value_that_cannot_be_converted_rejects_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(values: pa.Array) -> pa.StringArray:
        if "k77" in list(map(str, values)):
            raise OverflowError("year 36535 is out of range")
        return pa.array(list(values), pa.string())

    monkeypatch.setattr("scanner.scan.plan.chunk.as_text", odd)
    rows = {"caption": [f"c{n}" for n in range(200)], "key": [f"k{n}" for n in range(200)]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    plan, samples = _planned(tmp_path, captions=(str(tmp_path / "a.parquet"),))
    (reject,) = pq.read_table(tmp_path / "run" / plan.rejects[0]).to_pylist()
    assert (reject["row"], reject["reason"]) == (
        77, "bad row: OverflowError: year 36535 is out of range",
    )  # fmt: skip
    assert len(samples) == 199
