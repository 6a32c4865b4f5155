"""A purged index is as one that never had the images, also after a kill at any step."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions import row_groups
from scanner.errors import UserError
from scanner.evidence.index.find import find_images
from scanner.evidence.index.index_files import open_index
from scanner.evidence.index.purging import purge_index, rewritten
from scanner.evidence.index.shards import IMAGES
from tests.evidence.index.pictures import encoded, write_shard
from tests.evidence.index.test_index_images import index, rows_of
from tests.killed_writes import Killed, count_changes

NAMED = ("a-2", "a-3", "a-9", "b-1", "b-2")


def is_named(images: pa.Table) -> np.ndarray:
    return np.isin(images["key"].to_pylist(), NAMED)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two files, one of whose items is named as a whole, and what it should become."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "data").mkdir()
    write_shard(folder / "data/a.parquet", [*range(9), b"no image"], row_group_size=3)
    write_shard(folder / "data/b.parquet", [20, 21, 22])
    for number in (0, 21):
        (folder / f"{number}.png").write_bytes(encoded(number))
    index(folder / "data", out=folder / "index")
    return folder


def purged(out: Path, dry_run: bool = False) -> int:
    return purge_index(str(out), "0123456789ab", is_named, dry_run)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def nearest(out: Path, file: Path) -> list[dict]:
    found = find_images([str(file)], str(out), 50).nearest
    return found.to_pylist()


def test_search_is_that_of_an_index_without_them(original: Path, tmp_path: Path) -> None:
    out = shutil.copytree(original / "index", tmp_path / "index")
    before, rows, digest = (
        nearest(out, original / "21.png"),
        rows_of(out),
        open_index(str(out)).digest,
    )
    assert purged(out, dry_run=True) == 5
    assert contents(out) == contents(original / "index")
    assert purged(out) == 5
    opened = open_index(str(out))
    assert rows_of(out) == [row for row in rows if row["key"] not in NAMED]
    assert opened.record.counts == {
        "images": 8, "samples": 8, "unreadable": 0, "missing": 0, "unreadable_files": 0
    }  # fmt: skip
    assert opened.record.counts == opened.manifest.counts
    assert (opened.manifest.reasons, opened.digest == digest) == ({}, False)
    for number in (0, 21):
        picture = original / f"{number}.png"
        expected = [row for row in nearest(original / "index", picture) if row["key"] not in NAMED]
        found = nearest(out, picture)
        assert [row["key"] for row in found] == [row["key"] for row in expected]
        similarities = [[row["similarity"] for row in rows] for rows in (found, expected)]
        np.testing.assert_allclose(*similarities, atol=1e-6)  # matrix products of other shapes
    assert before[0]["key"] == "b-1"
    # Nothing names them, also not compressed, and the same command of index-images adds nothing.
    for name, data in contents(out).items():
        text = str(pq.read_table(out / name).to_pylist()) if name.endswith("parquet") else str(data)
        assert not any(key in text for key in NAMED), name
    assert len(list(out.glob("manifest-*.json"))) == 1
    assert purged(out) == 0
    assert index(original / "data", out=out).manifest == opened.manifest


@pytest.mark.slow
def test_a_purge_killed_at_any_step_is_finished(original: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(original / "index", tmp_path / "whole")
    changes = count_changes(lambda: purged(whole))
    expected = contents(whole)
    assert changes > 20
    for kill in range(changes):
        out = shutil.copytree(original / "index", tmp_path / f"killed-{kill}")
        with pytest.raises(Killed):
            count_changes(lambda: purged(out), kill)  # noqa: B023
        if (out / "purging/purge.json").exists():
            with pytest.raises(UserError, match="memscan purge was interrupted"):
                index(original / "data", out=out)
        purged(out)
        assert contents(out) == expected, kill


def test_an_index_can_lose_all_its_images(original: Path, tmp_path: Path) -> None:
    out = shutil.copytree(original / "index", tmp_path / "index")
    assert purge_index(str(out), "f" * 12, lambda images: np.ones(len(images), bool)) == 13
    assert open_index(str(out)).images == 0
    assert nearest(out, original / "0.png") == []
    assert not list((out / "shards").iterdir())


def test_an_index_that_is_not_finished_is_refused(original: Path, tmp_path: Path) -> None:
    out = shutil.copytree(original / "index", tmp_path / "index")
    next(iter(sorted((out / "commits").iterdir()))).unlink()
    before = contents(out)
    with pytest.raises(UserError, match="rerun the same memscan index-images first"):
        purged(out)
    assert contents(out).keys() - before.keys() == {
        name for name in contents(out) if "-p0123456789ab" in name
    }
    with pytest.raises(UserError, match="no finished index here"):
        purge_index(str(tmp_path), "x", is_named)


def forge_list(out: Path, rows: int) -> None:
    """A list of a few kilobytes that takes many times as much in memory."""
    (path,) = (out / "lists").iterdir()
    columns = {field.name: pa.nulls(rows, field.type) for field in IMAGES}
    columns["source"] = pa.array(["x" * (1 << 20)] * rows)
    pq.write_table(pa.table(columns, schema=IMAGES), path, compression="zstd")
    plan = json.loads((out / "plan.json").read_text())
    plan["items"] = [{**plan["items"][0], "images": rows}]
    (out / "plan.json").write_text(json.dumps(plan))


def test_a_list_that_takes_much_memory_is_refused(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(original / "index", tmp_path / "index")
    forge_list(out, 40)
    monkeypatch.setattr(row_groups, "ROW_GROUP_BYTES", 32 << 20)
    with pytest.raises(UserError, match=r"lists/.* is damaged \(.*over 32 MiB in memory"):
        purged(out)


def forge_reason(out: Path, reason: str) -> None:
    """A small part, with its true checksum, of one image that could not be read."""
    for path in (out / "commits").iterdir():
        commit = json.loads(path.read_text())
        for part in commit["parts"]:
            if part["kind"] == "unreadable":
                table = pq.read_table(out / part["path"])
                bomb = table.set_column(5, table.schema.field(5), [[reason]])
                pq.write_table(bomb, out / part["path"], compression="zstd")
                data = (out / part["path"]).read_bytes()
                part |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        path.write_text(json.dumps(commit))


def test_a_part_that_takes_much_memory_is_refused(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(original / "index", tmp_path / "index")
    monkeypatch.setattr(rewritten, "TEXT_BYTES", 1 << 20)
    forge_reason(out, "x" * (1 << 22))
    with pytest.raises(UserError, match=r"unreadable/.* is damaged \(it takes .* in memory"):
        purged(out)
    forge_reason(out, "short")
    shard = min(path for path in (out / "shards").iterdir() if "-p" not in path.name)
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shards/.* is damaged; restore the file"):
        purged(out)
