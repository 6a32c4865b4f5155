"""Planning, with a plain normalization instead of a model's."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.sidecars import ABOUT_TAR
from scanner.errors import UserError
from scanner.run import Plan
from scanner.run.records import DamagedFile
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.storage import Store
from scanner.storage.walking import HIDDEN


def normalization() -> Callable[[str], str]:
    return lambda caption: caption.lower().strip()


def _plan(tmp_path: Path, rows: int = 2, limit: int | None = None, **options) -> Plan:
    config = ScanConfig(out=str(tmp_path / "run"), **options)
    store = Store(config.out)
    inputs = choose_inputs(config)
    return make_plan(inputs, store, normalization, lambda _: rows, limit)


def _tar(path: Path, members: dict[str, str]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))


def _read(tmp_path: Path, names: tuple[str, ...]) -> list[dict]:
    return [row for n in names for row in pq.read_table(tmp_path / "run" / n).to_pylist()]


def test_rows_are_samples_plus_rejects_grouped_by_caption(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [
        {"id": 1, "url": "u1", "caption": "A cat"},
        {"id": 2, "url": "u2", "caption": "a Cat "},
        {"id": 3, "url": "u3", "caption": "A cat"},
        {"id": 4, "url": "u4", "caption": None},
        {"id": 5, "url": "u5", "caption": "  "},
        {"id": 6, "url": "u6", "caption": ["no text"]},
        {"id": 7, "url": "u7", "caption": "a dog"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"caption": "\\ud800"}\n')
    plan = _plan(tmp_path, captions=(str(file),))
    assert plan.counts == {
        "rows": 8, "pairs": 8, "samples": 4, "rejects": 4, "not_downloaded": 0, "rejected_files": 0,
        "reference_samples": 0, "captions": 2,
    }  # fmt: skip
    captions = _read(tmp_path, plan.captions)
    assert [row["caption"] for row in sorted(captions, key=lambda row: row["caption"])] == [
        "A cat",
        "a dog",
    ]
    assert captions == sorted(captions, key=lambda row: row["caption_id"])
    samples = _read(tmp_path, plan.samples)
    assert [(row["row"], row["key"], row["url"], row["image_key"]) for row in samples] == [
        (0, "1", "u1", "u1"), (1, "2", "u2", "u2"), (2, "3", "u3", "u3"), (6, "7", "u7", "u7"),
    ]  # fmt: skip
    reasons = [(row["row"], row["key"], row["reason"]) for row in _read(tmp_path, plan.rejects)]
    assert reasons == [
        (3, "4", "null caption"),
        (4, "5", "empty caption"),
        (5, "6", "caption must be text, got array"),
        (7, None, "caption is not valid Unicode"),
    ]


@pytest.mark.slow
def test_slices_cover_every_caption_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanner.scan.plan.grouping.PART_SLICES", 64)
    file = tmp_path / "a.csv"
    file.write_text("caption\n" + "".join(f"caption {i % 1000}\n" for i in range(3000)))
    plan = _plan(tmp_path, rows=7, captions=(str(file),))
    assert sum(item.rows for item in plan.slices) == plan.counts["captions"] == 1000
    assert len(plan.captions) > 1
    covered = []
    for item in plan.slices:
        table = pq.read_table(
            tmp_path / "run" / item.file,
            filters=[("caption_id", ">=", item.first), ("caption_id", "<=", item.last)],
        )
        assert len(table) == item.rows
        covered += table["caption_id"].to_pylist()
    assert covered == sorted(set(covered))
    assert len(covered) == 1000


def test_limit_takes_the_smallest_ids_and_keeps_all_samples(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("caption\n" + "".join(f"caption {i}\n" for i in range(50)))
    plan = _plan(tmp_path, limit=5, captions=(str(file),))
    every = sorted(row["caption_id"] for row in _read(tmp_path, plan.samples))
    assert [row["caption_id"] for row in _read(tmp_path, plan.captions)] == every[:5]
    assert plan.counts["samples"] == 50


def test_marks_reference_captions_absent_from_training_set(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("caption,url\nshared,u\ntrain,v\n")
    (tmp_path / "null.csv").write_text("TEXT\nShared\nnull\n")
    plan = _plan(
        tmp_path,
        captions=(str(tmp_path / "train.csv"),),
        reference=(str(tmp_path / "null.csv"),),
    )
    marks = {row["canonical"]: row["is_reference"] for row in _read(tmp_path, plan.captions)}
    assert marks == {"shared": False, "train": False, "null": True}
    assert [row["url"] for row in _read(tmp_path, plan.samples)] == ["u", "v", None, None]


def test_an_unreadable_file_is_rejected_and_the_rest_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"caption": ["good"]}), tmp_path / "b.parquet")
    (tmp_path / "a.parquet").write_bytes(b"not parquet at all")
    (tmp_path / "c.csv").write_text("other\nx\n")
    plan = _plan(tmp_path, captions=(str(tmp_path),))
    assert plan.counts["rejected_files"] == 2
    reasons = {Path(r["source"]).name: r["reason"] for r in _read(tmp_path, plan.rejects)}
    assert reasons["a.parquet"].startswith("unreadable file")
    assert "no caption column" in reasons["c.csv"]


def test_byte_keys_and_column_names_in_any_case_are_read(tmp_path: Path) -> None:
    first = pa.table({"caption": [b"one"], "key": [b"k1"], "url": ["u1"]})
    second = pa.table({"Caption": ["two"], "KEY": [b"\xff\x00"], "URL": ["u2"]})
    pq.write_table(first, tmp_path / "a.parquet")
    pq.write_table(second, tmp_path / "b.parquet")
    plan = _plan(tmp_path, captions=(str(tmp_path),))
    samples = [(row["key"], row["url"]) for row in _read(tmp_path, plan.samples)]
    assert samples == [("k1", "u1"), ("ff00", "u2")]


def test_invalid_utf8_in_parquet_costs_its_own_rows_only(tmp_path: Path) -> None:
    broken = pa.array([b"good", b"caf\xe9", b"fine"]).view(pa.string())
    pq.write_table(pa.table({"caption": broken, "key": broken}), tmp_path / "a.parquet")
    plan = _plan(tmp_path, captions=(str(tmp_path / "a.parquet"),))
    captions = [row["caption"] for row in _read(tmp_path, plan.captions)]
    assert sorted(captions) == ["fine", "good"]
    (reject,) = _read(tmp_path, plan.rejects)
    assert (reject["row"], reject["key"], reject["reason"]) == (
        1, "636166e9", "caption is not UTF-8",
    )  # fmt: skip


def test_img2dataset_output_is_read_from_its_parquet(
    tmp_path: Path,
) -> None:
    rows = [
        {"url": "u0", "caption": "one", "key": "0", "status": "success"},
        {"url": "u1", "caption": "two", "key": "1", "status": "failed_to_download"},
        {"url": "u2", "caption": None, "key": "2", "status": "failed_to_resize"},
        {"url": "u3", "caption": "three", "key": "3", "status": None},
    ]
    folder = tmp_path / "images"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    (folder / "00000.tar").write_bytes(b"not even looked at")
    (folder / "00000_stats.json").write_text("{}")
    plan = _plan(tmp_path, captions=(str(folder),))
    assert [item["url"] for item in plan.inputs] == [str(folder / "00000.parquet")]
    assert (plan.counts["samples"], plan.counts["rejects"]) == (1, 3)
    assert plan.counts["not_downloaded"] == 3
    assert [row["reason"] for row in _read(tmp_path, plan.rejects)] == [
        "not downloaded: failed_to_download",
        "not downloaded: failed_to_resize",
        "not downloaded: None",
    ]


def test_a_tar_is_read_if_its_table_lists_no_downloads(
    tmp_path: Path,
) -> None:
    for stem in ("a", "b", "c"):
        _tar(tmp_path / f"{stem}.tar", {f"{n}.txt": f"{stem} {n}" for n in range(3)})
    pq.write_table(pa.table({"emb": [[0.1]], "key": ["0"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["only one kept"], "key": ["2"]}), tmp_path / "b.parquet")
    other = {"url": ["u"], "caption": ["other"], "key": ["99"], "status": ["success"]}
    pq.write_table(pa.table(other), tmp_path / "c.parquet")
    plan = _plan(tmp_path, captions=(str(tmp_path),))
    counted = {Path(item["url"]).name: item["samples"] for item in plan.inputs}
    assert counted == {"a.tar": 3, "b.tar": 3, "c.parquet": 1, "c.tar": 3}
    assert plan.skipped[ABOUT_TAR]["files"] == 2


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    for name in ("a.csv", "b.tsv"):
        (tmp_path / name).write_text("")
    (tmp_path / "c.csv").write_text("caption\none\n")
    plan = _plan(tmp_path, captions=(str(tmp_path),))
    assert [item["rows"] for item in plan.inputs] == [0, 0, 1]
    assert (plan.counts["rejects"], plan.counts["rejected_files"]) == (0, 0)


def test_a_kept_column_is_null_in_files_without_it(tmp_path: Path) -> None:
    tables = ({"caption": ["a"]}, {"caption": ["b"], "url": ["u"]}, {"TEXT": ["c"], "URL": ["v"]})
    for number, columns in enumerate(tables):
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    plan = _plan(tmp_path, captions=(str(tmp_path),))
    rows = _read(tmp_path, plan.samples)
    assert [row["url"] for row in rows] == [None, "u", "v"]
    # Files that are added later have the columns of the first ones, and may lack them.
    pq.write_table(pa.table({"caption": ["d"], "image_url": ["w"]}), tmp_path / "3.parquet")
    config = ScanConfig(captions=(str(tmp_path / "?.parquet"),), keep=("url",))
    inputs = choose_inputs(config, [plan])
    assert [Path(item.url).name for item in inputs.files] == ["3.parquet"]
    added = make_plan(
        inputs, Store(str(tmp_path / "run")), normalization, lambda _: 2, earlier=[plan]
    )
    assert [row["url"] for row in _read(tmp_path, added.samples)] == [None]


def test_skipped_files_are_counted_by_reason_in_the_plan(tmp_path: Path) -> None:
    for name in ("a.csv", "_b.csv", "c.json", "d.json"):
        (tmp_path / name).write_text("caption\none\n")
    plan = _plan(tmp_path, captions=(str(tmp_path),))
    assert sum(reason["files"] for reason in plan.skipped.values()) == 3
    assert plan.skipped[HIDDEN] == {"files": 1, "first": [str(tmp_path / "_b.csv")]}
    again = Plan.joined([plan, plan])
    assert again.skipped[HIDDEN]["files"] == 2


def test_corrected_inputs_are_read_after_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('caption\n""\n')
    with pytest.raises(UserError, match="no captions in"):
        _plan(tmp_path, captions=(str(file),))
    file.write_text("caption\ncorrected\n")
    assert _plan(tmp_path, captions=(str(file),)).counts["captions"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caption\n", "no captions in"),
        ('caption\n""\n', "empty caption"),
        ("", "no captions in"),
        ("other\nx\n", "--caption-column"),
        ("text,caption\na,b\n", "more than one column could be the caption"),
    ],
)
def test_a_data_set_without_captions_is_a_clear_error(tmp_path: Path, text, message) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        _plan(tmp_path, captions=(str(tmp_path / "a.csv"),))


def test_added_files_may_lack_columns_of_the_first_plan(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"caption": "a", "no": 1, "md": "x", "lang": "en"}\n')
    (tmp_path / "b.jsonl").write_text('{"caption": "b"}\n')
    options = {"key_column": "no", "image_key": "md", "keep": ("lang",)}
    earlier = _plan(tmp_path, captions=(str(tmp_path / "a.jsonl"),), **options)
    added = ScanConfig(out="", captions=(str(tmp_path / "b.jsonl"),), extend=True, **options)
    (file,) = choose_inputs(added, [earlier]).files
    assert file.columns
    with pytest.raises(UserError, match="no column 'no'"):
        choose_inputs(added)


def test_frozen_inputs_are_read_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("caption\na cat\n")
    _plan(tmp_path, captions=(str(tmp_path / "a.csv"),))
    monkeypatch.setattr("scanner.scan.plan.make_plan.LARGEST_BYTES", 10)
    with pytest.raises(DamagedFile, match=r"planning/0000/inputs\.json is damaged"):
        _plan(tmp_path, captions=(str(tmp_path / "a.csv"),))
