"""A purge leaves nothing of what a list names in a run, and a run that is as good as before."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.purge import main
from scanner.curation.name_lists import NameList
from scanner.curation.purging import Purge, purge
from scanner.errors import UserError
from scanner.query import open_run
from scanner.run import Output, Run
from scanner.run.compaction import GroupSizes
from scanner.run.directory import PURGE_JOURNAL
from scanner.run.records import DamagedFile
from scanner.run.status import status
from scanner.run.verdicts import FOLDER, TABLES, VERDICTS, verdict_commits
from scanner.scan.finishing import merge_and_check, remove_merged
from scanner.storage import Store
from tests.curation.runs import make_run
from tests.killed_writes import Killed, count_changes

# Every fifth caption is rejected by the scan; rows of 'shared' show one image.
CAPTIONS = [f"caption {k}" for k in range(30)]
NAMED = "takedown 7", "takedown 8"


def score(caption: str) -> float | None:
    return None if caption.endswith("5") else float(len(caption))


def write_data(folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"key": f"key-{k}", "caption": caption, "url": f"https://x/{k}"}
        for k, caption in enumerate(CAPTIONS)
    ]
    rows += [
        {"key": "gone-1", "caption": "takedown 7", "url": "https://gone/1"},
        {"key": "gone-2", "caption": "takedown 8", "url": "https://gone/shared"},
        {"key": "gone-3", "caption": "caption 3", "url": "https://gone/shared"},
        {"key": "gone-4", "caption": None, "url": "https://gone/4"},
        {"key": "gone-5", "caption": "in a reference file", "url": "https://gone/5"},
        {"key": "kept-4", "caption": None, "url": "https://x/kept"},
    ]
    folder.mkdir()
    for number, part in enumerate((rows[:20], rows[20:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"{number}.parquet")
    held_out = [{"caption": f"held out {k}"} for k in range(5)] + [
        {"caption": "in a reference file"}
    ]
    pq.write_table(pa.Table.from_pylist(held_out), folder.parent / "reference.parquet")


def add_verdicts(run: str) -> None:
    """Two verdicts with images: of a purged caption, and of one that resembles a purged sample."""
    tables = open_run(run)
    store = Store(run)
    rows = []
    for caption in ("takedown 8", "caption 2"):
        sql = "SELECT caption_id FROM captions WHERE caption = $c"
        (caption_id,) = tables.query(sql, {"c": caption})["caption_id"].to_pylist()
        image = f"{FOLDER}/abc/images/{caption_id}-0.png"
        store.write(image, b"picture")
        rows.append(
            {
                "caption_id": caption_id, "caption": caption, "verdict": "verbatim",
                "verified_at": 1.0, "images": [image], "reference_row": 11,
                "reference_source": f"{Path(run).parent}/data/1.parquet",
            }
        )  # fmt: skip
    store.write(f"{FOLDER}/abc/measures/one.parquet", b"takedown 8")
    store.write(f"{FOLDER}/killed/measures/two.parquet", b"takedown 8")
    notes = {"verified_at": 1.0, "out": "/elsewhere/images"}
    table = pa.Table.from_pylist(rows, VERDICTS)
    verdict_commits(store).commit("abc", [Output(f"{FOLDER}/{TABLES}", table)], notes=notes)


MERGED = pytest.mark.parametrize("original", ["merged"], indirect=True)


@pytest.fixture(scope="module", params=["merged", "single"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of several slices, which are merged or not, and its data."""
    folder = tmp_path_factory.mktemp("original")
    write_data(folder / "data")
    options = {"captions": (str(folder / "data"),), "slice_rows": 4}
    run = make_run(folder / "run", score, reference=(str(folder / "reference.parquet"),), **options)
    if request.param == "merged":
        opened = Run.existing(run)
        plan = opened.plan()
        assert plan
        sizes = GroupSizes(rows=16, min_slices=2)
        layout = merge_and_check(opened, plan, None, lambda _: None, sizes).layout
        assert len(layout.merged) > 1
        remove_merged(opened, opened.seal(layout), None, lambda _: None)
    add_verdicts(run)
    Store(run).write("samples/of-a-killed-writer.parquet", b"gone-1")
    (folder / "list.csv").write_text(
        "key,url\ngone-1,\n,https://gone/shared\ngone-4,\ngone-5,\nabsent,\n"
    )
    return folder


def copied(original: Path, target: Path) -> str:
    shutil.copytree(original / "run", target)
    return str(target)


def purged(run: str, original: Path) -> Purge:
    return purge(run, [NameList("takedown", str(original / "list.csv"))])


def contents(run: str) -> dict[str, Any]:
    """The files of a run; JSON without the time of its seal."""
    found: dict[str, Any] = {}
    for path in sorted(Path(run).rglob("*")):
        if path.is_file():
            name, data = str(path.relative_to(run)), path.read_bytes()
            found[name] = data
            if name.startswith("manifest"):
                found[name] = {**json.loads(data), "sealed_at": ""}
    return found


def left_of(run: str) -> list[str]:
    """Files of a run that have something of what was purged, in any of their values."""
    words = (*NAMED, "gone-", "https://gone")
    found = []
    for name, data in contents(run).items():
        text = str(data)
        if name.endswith(".parquet") and data[:4] == b"PAR1":
            text = str(pq.read_table(Path(run, name)).to_pylist())
        found += [name] if any(word in text for word in words) else []
    return found


@pytest.mark.slow
def test_a_purge_leaves_nothing_and_its_sums_hold(original: Path, tmp_path: Path) -> None:
    run = copied(original, tmp_path / "run")
    assert len(left_of(run)) > 5
    before = open_run(run).query("SELECT caption_id, noise_norm_first FROM scores").to_pylist()
    done = purged(run, original)
    assert left_of(run) == []
    assert done.removed["samples"] == 4
    assert done.removed["captions"] == done.removed["scores"] == 2
    assert done.removed["verdicts"] == done.removed["rejects"] == 1
    assert done.lists["takedown"]["first_unmatched"] == ("absent",)
    assert "generated images in /elsewhere/images" in done.not_reached
    opened = Run.existing(run)
    manifest = opened.manifest()
    assert manifest
    counts = manifest["counts"]
    assert counts["rows"] == counts["samples"] + counts["rejects"] + counts["purged"]
    assert counts["captions"] == counts["scored"] + counts["scan_rejects"]
    assert opened.is_finished()
    assert status(opened)["sealed"]
    tables = open_run(run)
    after = tables.query("SELECT caption_id, noise_norm_first FROM scores").to_pylist()
    lost = _ids(original / "run") - _ids(run)
    assert [row for row in before if row not in after] == [
        row for row in before if row["caption_id"] in lost
    ]
    # A caption that only reference files have left is a reference caption.
    texts = tables.query("SELECT caption FROM reference_captions")["caption"].to_pylist()
    assert "in a reference file" in texts
    (verdict,) = tables.query("FROM verdicts").to_pylist()
    assert (verdict["caption"], verdict["reference_source"]) == ("caption 2", None)


def _ids(run: Path | str) -> set[str]:
    found = open_run(str(run)).query("SELECT caption_id FROM captions")["caption_id"]
    return set(found.to_pylist())


@pytest.mark.slow
def test_a_purged_run_is_checked_extended_and_purged_again(original: Path, tmp_path: Path) -> None:
    run = copied(original, tmp_path / "run")
    purged(run, original)
    opened = Run.existing(run)
    plan = opened.plan()
    assert plan
    checked = merge_and_check(opened, plan, None, lambda _: None, GroupSizes(), reads_all=True)
    assert checked.damaged == {}
    remove_merged(opened, opened.seal(), None, lambda _: None)
    assert open_run(run).query("FROM scores").num_rows == plan.counts["captions"] - 3
    (tmp_path / "more.txt").write_text("key-1\n")
    again = purge(run, [NameList("more", str(tmp_path / "more.txt"))])
    assert again.removed["samples"] == 1
    assert purge(run, [NameList("more", str(tmp_path / "more.txt"))]).removed["samples"] == 0
    assert "key-1\n" not in open_run(run).query("SELECT key FROM samples")["key"].to_pylist()


@MERGED
@pytest.mark.slow
def test_a_purge_killed_anywhere_is_finished_by_another(original: Path, tmp_path: Path) -> None:
    run = copied(original, tmp_path / "undisturbed")
    changes = count_changes(lambda: purged(run, original))
    expected = contents(run)
    assert changes > 20
    for kill in range(0, changes, 6):
        disturbed = copied(original, tmp_path / f"killed-{kill}")
        with pytest.raises(Killed):
            count_changes(lambda: purged(disturbed, original), kill)  # noqa: B023
        purged(disturbed, original)
        assert contents(disturbed).keys() == expected.keys(), kill
        assert contents(disturbed) == expected, kill
        shutil.rmtree(disturbed)


@MERGED
def test_a_damaged_journal_is_not_to_be_removed(original: Path, tmp_path: Path) -> None:
    """A rerun without it would find nothing to purge, and leave what was not replaced yet."""
    run = copied(original, tmp_path / "run")
    Store(run).write(PURGE_JOURNAL, b"{")
    with pytest.raises(DamagedFile, match=r"damaged .*; restore the run from a copy, or scan into"):
        purged(run, original)


@MERGED
@pytest.mark.slow
def test_the_command_counts_purges_and_refuses(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(original, tmp_path / "run")
    before = contents(run)
    words = [run, "--list", f"takedown={original}/list.csv", "--json"]
    assert main([*words, "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert contents(run) == before
    assert planned["removed"] == {"samples": 4, "captions": 2}
    assert main(words) == 0
    done = json.loads(capsys.readouterr().out)
    assert all(done["removed"][name] == count for name, count in planned["removed"].items())
    assert main([run, "--list", f"{original}/list.csv"]) == 0
    assert "removed from" in capsys.readouterr().out
    assert main([run]) == 2
    assert "--list: name at least one list" in capsys.readouterr().err
    for name in ("manifest-0002.json", "manifest-0003.json"):
        Path(run, name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="the run is not finished"):
        purged(run, original)


def test_a_dry_run_counts_as_the_purge_does_with_a_limit(tmp_path: Path) -> None:
    """Samples of captions outside of the limit are in the run, their captions are not."""
    data, names = tmp_path / "data.csv", tmp_path / "list.csv"
    data.write_text("key,caption\n" + "".join(f"k{k},caption {k}\n" for k in range(8)))
    names.write_text("key\n" + "".join(f"k{k}\n" for k in range(8)))
    run = make_run(tmp_path / "run", lambda caption: 1.0, captions=(str(data),), limit=3)
    lists = [NameList("takedown", str(names))]
    planned = purge(run, lists, dry_run=True).removed
    assert planned == {"samples": 8, "captions": 3}
    done = purge(run, lists).removed
    assert {name: done[name] for name in planned} == planned
