"""A purge with --index removes the same images from indexes of the run and of its files."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.purge import main
from scanner.curation.name_lists import NameList
from scanner.curation.purging import Purge, purge
from scanner.errors import UserError
from scanner.run.directory import PURGE_JOURNAL
from scanner.run.records import DamagedFile
from scanner.storage import Store
from tests.curation.runs import loudness, make_run
from tests.evidence.index.pictures import encoded
from tests.evidence.index.test_index_images import index, rows_of
from tests.killed_writes import Killed, count_changes


def write(path: Path, urls: list[str | None]) -> None:
    """Rows with keys that each file counts from 0, and pictures by URL."""
    images = [encoded(sum(map(ord, url or path.stem))) for url in urls]
    columns = {
        "key": [str(row) for row in range(len(urls))],
        "caption": [f"{path.stem} {row}" for row in range(len(urls))],
        "url": urls,
        "jpg": pa.array(images, pa.binary()),
    }
    pq.write_table(pa.table(columns), path)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, an index of it, and one of its files and another, without image keys."""
    folder = tmp_path_factory.mktemp("indexed")
    (folder / "data").mkdir()
    write(folder / "data/a.parquet", ["u0", "u1", "gone", "u3", None])
    write(folder / "data/b.parquet", ["v0", "gone", "v2", "v3", "v4", "v5"])
    write(folder / "other.parquet", ["gone", "w1"])
    run = make_run(folder / "run", loudness, captions=(str(folder / "data"),))
    index(run, out=folder / "of-run")
    index(folder / "data", folder / "other.parquet", out=folder / "of-files")
    index(folder / "data", out=folder / "by-row", image_key="none")
    (folder / "list.csv").write_text("key,url\n,gone\n5,\n")
    return folder


def copied(original: Path, folder: Path) -> Path:
    return shutil.copytree(original, folder / "copy")


def purged(folder: Path, *indexes: str, dry_run: bool = False) -> Purge:
    lists = [NameList("gone", str(folder / "list.csv"))]
    return purge(str(folder / "run"), lists, dry_run, False, [str(folder / i) for i in indexes])


def places(out: Path) -> list[str]:
    return [f"{Path(row['source']).stem}{row['row']}" for row in rows_of(out)]


@pytest.mark.slow
def test_images_leave_indexes_by_row_key_and_image_key(original: Path, tmp_path: Path) -> None:
    folder = copied(original, tmp_path)
    names = ("of-run", "of-files", "by-row")
    before = {name: places(folder / name) for name in names}
    planned = purged(folder, *names, dry_run=True).indexes
    done = purged(folder, *names)
    assert planned == done.indexes
    assert [*done.indexes.values()] == [2, 2, 3]
    # Key 5 is of one row only; keys 2 and 1 of the image that is gone are other rows' keys too.
    gone = {"of-run": {"a2", "b5"}, "of-files": {"a2", "b5"}, "by-row": {"a2", "b1", "b5"}}
    for name in names:
        assert places(folder / name) == [one for one in before[name] if one not in gone[name]]
    assert "indexes of training images that no --index names" in done.not_reached
    again = purged(folder, *names)
    assert (again.removed["samples"], {*again.indexes.values()}) == (0, {0})


@pytest.mark.slow
def test_an_index_named_later_is_purged_by_the_list(original: Path, tmp_path: Path) -> None:
    folder = copied(original, tmp_path)
    assert purged(folder).removed["samples"] == 3
    assert purged(folder, "of-run").indexes == {str(folder / "of-run"): 2}
    assert places(folder / "of-run") == ["a0", "a1", "a3", "a4", "b0", "b2", "b3", "b4"]


@pytest.mark.slow
def test_a_damaged_journal_is_not_to_be_removed(original: Path, tmp_path: Path) -> None:
    folder = copied(original, tmp_path)
    Store(str(folder / "of-run")).write(PURGE_JOURNAL, b"{")
    with pytest.raises(DamagedFile, match=r"damaged .*; restore the index from a copy, or remove"):
        purged(folder, "of-run")


@pytest.mark.slow
def test_a_kill_between_index_and_run_is_finished(original: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(original, tmp_path / "whole")
    changes = count_changes(lambda: purged(whole, "of-run", "by-row"))
    for kill in range(2, changes, changes // 4):
        folder = shutil.copytree(original, tmp_path / f"killed-{kill}")
        with pytest.raises(Killed):
            count_changes(lambda: purged(folder, "of-run", "by-row"), kill)  # noqa: B023
        purged(folder, "of-run", "by-row")
        assert places(folder / "of-run") == places(whole / "of-run"), kill
        assert places(folder / "by-row") == places(whole / "by-row"), kill
        assert purged(folder, "of-run").removed["samples"] == 0


@pytest.mark.slow
def test_the_command_says_what_leaves_an_index(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(original, tmp_path)
    run, out, names = (str(folder / name) for name in ("run", "of-run", "list.csv"))
    with pytest.raises(UserError, match="no finished index here"):
        purged(folder, "of-run", "data")
    assert main([run, "--list", names, "--index", out, "--dry-run"]) == 0
    assert f"would remove from {out}: 2 images" in capsys.readouterr().out
    assert main([run, "--list", names, "--index", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["indexes"] == {out: 2}
