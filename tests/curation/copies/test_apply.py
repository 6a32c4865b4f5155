"""Cleaned copies: rows add up, runs resume, changed files are refused."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.curation import curate
from scanner.curation.copies.copying import apply
from scanner.errors import UserError
from scanner.query import open_run
from tests.curation.runs import LOUD, loudness, make_run, policy, rule
from tests.logs import logged
from tests.sessions import kill_session, start_held
from tests.waiting import wait_until

DROP = policy(rule("loud", LOUD, "drop"))
ROWS = 40


def captions(shard: int) -> list[str]:
    return [f"loud {k}" if k % 3 == shard % 3 else f"quiet {k}" for k in range(ROWS)]


def write_shards(folder: Path) -> Path:
    """A shard of each format, every third row loud, in folders of their own."""
    for name in ("parquet", "text", "tars"):
        (folder / name).mkdir(parents=True)
    for number in range(2):
        keys = [f"{number}-{k}" for k in range(ROWS)]
        table = pa.table({"key": keys, "caption": captions(number), "image": [b"x" * 99] * ROWS})
        pq.write_table(table, folder / f"parquet/{number}.parquet", row_group_size=7)
    lines = [f"k{k},{caption}\r\n" for k, caption in enumerate(captions(2))]
    (folder / "text/2.csv").write_bytes(b"key,caption\r\n" + "".join(lines).encode())
    lines = [json.dumps({"key": f"j{k}", "caption": c}) for k, c in enumerate(captions(0))]
    (folder / "text/3.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    with tarfile.open(folder / "tars/4.tar", "w") as tar:
        for k, caption in enumerate(captions(1)):
            for ending, data in (("jpg", b"\xff" * 600), ("txt", caption.encode())):
                info = tarfile.TarInfo(f"{k:04d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder


def listed(run: str, out: Path, given=DROP) -> str:
    curate(run, open_run(run), given, str(out), force=True)
    return str(out)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".memscan" not in path.parts
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("run") / "r"
    return make_run(out, loudness, captions=(str(data),), caption_column=None)


@pytest.fixture(scope="module")
def undisturbed(
    run: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, "dict[str, bytes]"]:
    """The list's directory, the copies, and their bytes, made in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    out = listed(run, folder / "list")
    apply(run, out, str(folder / "copies"), pool_from=1000)
    return out, folder / "copies", files_of(folder / "copies")


def test_copies_have_all_kept_rows_and_no_removed_one(
    data: Path, undisturbed: tuple[str, Path, dict[str, bytes]], tmp_path: Path
) -> None:
    assert undisturbed[2].keys() == files_of(data).keys()
    again = make_run(tmp_path / "again", loudness, captions=(str(undisturbed[1]),))
    count = "SELECT count(*) FILTER (caption LIKE 'loud%') AS loud, sum(n_samples) AS n FROM ranked"
    (found,) = open_run(again).query(count).to_pylist()
    loud = sum(c.startswith("loud") for k in (0, 1, 2, 0, 1) for c in captions(k))
    assert (found["loud"], found["n"]) == (0, 5 * ROWS - loud)


def test_rerun_after_a_kill_writes_the_same_bytes(
    run: str, undisturbed: tuple[str, Path, dict[str, bytes]], tmp_path: Path, monkeypatch
) -> None:
    """A pool of actors is killed; whoever goes on may be another process without one."""
    copies, commits = tmp_path / "copies", tmp_path / "copies" / ".memscan" / "commits"
    copying = "scanner.curation.copies.copying"
    call = "module.apply(*sys.argv[2:], 1)"
    driver = start_held(copying, call, run, undisturbed[0], str(copies))

    def done() -> int:
        return len(list(commits.glob("*.json")))

    try:
        wait_until(lambda: done() or driver.poll() is not None, "nothing is committed")
    finally:
        kill_session(driver)
    assert done() == 1
    # What a kill in the middle of a write leaves behind.
    stray = copies / "text" / f".2.csv.{'0' * 32}"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"half a f")
    os.utime(stray, (0, 0))
    with logged() as lines:
        found = apply(run, undisturbed[0], str(copies), pool_from=1000)
    assert lines == ["resuming: 1 of 5 shards are copied already", "apply: 4 shards to copy"]
    assert files_of(copies) == undisturbed[2]
    assert found.rows == found.kept + found.removed == 5 * ROWS


def test_copies_on_an_object_store_are_the_same(
    run: str, undisturbed: tuple[str, Path, dict[str, bytes]], s3: str, monkeypatch
) -> None:
    found = apply(run, undisturbed[0], f"{s3}/copies", pool_from=1000)
    assert found.rows == 5 * ROWS
    from scanner.storage import Store

    store = Store(f"{s3}/copies")
    assert {name: store.read(name) for name in undisturbed[2]} == undisturbed[2]


def small(folder: Path, text: str = "key,caption\na,loud\nb,quiet\nc,loud too\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.csv").write_text(text)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("key,caption\na,loud\nb,quiet\n", "it has 2 rows, but 3 were scanned"),
        ("key,caption\nz,loud\nb,quiet\nc,loud too\n", "row 0 has key = 'z', but 'a' was scanned"),
        ("id,caption\na,loud\nb,quiet\nc,loud too\n", "no column key"),
        ('key,caption\na,loud\n"b,quiet\n', "it has 2 rows, but 3 were scanned"),
    ],
)
def test_a_shard_that_changed_since_the_scan_is_refused(
    tmp_path: Path, changed: str, message: str
) -> None:
    data = small(tmp_path / "d")
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    out = listed(run, tmp_path / "list")
    small(tmp_path / "d", changed)
    with pytest.raises(UserError, match=message):
        apply(run, out, str(tmp_path / "copies"))
    assert not files_of(tmp_path / "copies")
    small(tmp_path / "d")
    assert apply(run, out, str(tmp_path / "copies")).kept == 1


@pytest.mark.slow
def test_a_damaged_commit_of_a_copy_names_the_remedy(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", loudness, captions=(str(small(tmp_path / "d")),))
    out, copies = listed(run, tmp_path / "list"), tmp_path / "copies"
    found = apply(run, out, str(copies))
    commit = copies / ".memscan/commits/000000.0.json"
    commit.write_text("{")
    with pytest.raises(UserError, match="remove it and rerun the same memscan curate"):
        apply(run, out, str(copies))
    commit.unlink()
    assert apply(run, out, str(copies)) == found


@pytest.mark.slow
def test_copies_of_another_list_or_over_the_sources_are_refused(tmp_path: Path) -> None:
    data = small(tmp_path / "d")
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    out = listed(run, tmp_path / "list")
    with pytest.raises(UserError, match="would overwrite it"):
        apply(run, out, str(data))
    apply(run, out, str(tmp_path / "copies"))
    listed(run, tmp_path / "list", policy(rule("loud", LOUD, "recaption")))
    with pytest.raises(UserError, match="made by another removal list"):
        apply(run, out, str(tmp_path / "copies"))
    assert apply(run, out, str(tmp_path / "others")).removed == 0


@pytest.mark.slow
@pytest.mark.parametrize(("rejects", "kept"), [("keep", 3), ("drop", 1)])
def test_rejected_rows_stay_unless_the_policy_drops_them(
    tmp_path: Path, rejects: str, kept: int
) -> None:
    rows = "key,caption\na,loud\nb,\nc,x,y\nd,quiet\n"
    data = small(tmp_path / "d", rows)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    out = listed(run, tmp_path / "list", policy(rule("loud", LOUD, "drop"), rejects=rejects))
    found = apply(run, out, str(tmp_path / "copies"))
    assert (found.rows, found.kept) == (4, kept)
    assert "planning rejected 2 rows" in (tmp_path / "list" / "summary.txt").read_text()


@pytest.mark.slow
def test_a_file_that_the_scan_skipped_is_copied_unchanged(tmp_path: Path) -> None:
    data = small(tmp_path / "d")
    (data / "b.csv").write_text("no,known,column\n1,2,3\n")
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    found = apply(run, listed(run, tmp_path / "list"), str(tmp_path / "copies"))
    assert (found.shards, found.unscanned) == (2, 1)
    assert files_of(tmp_path / "copies")["b.csv"] == (data / "b.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_img2dataset_loses_images_with_their_rows(tmp_path: Path, form: str) -> None:
    data = tmp_path / "d"
    data.mkdir()
    keys = [f"00000000{k}" for k in range(4)]
    status = ["success", "success", "failed_to_download", "success"]
    texts = ["loud", "quiet", "loud gone", "loud too"]
    table = {"key": keys, "url": [f"u{k}" for k in range(4)], "status": status, "caption": texts}
    pq.write_table(pa.table(table), data / "00000.parquet")
    there = {f"{k}.jpg": k.encode() for k, s in zip(keys, status, strict=True) if s == "success"}
    if form == "files":
        (data / "00000").mkdir()
        for name, content in there.items():
            (data / "00000" / name).write_bytes(content)
    else:
        with tarfile.open(data / "00000.tar", "w") as tar:
            for name, content in there.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    found = apply(run, listed(run, tmp_path / "list"), str(tmp_path / "copies"))
    assert (found.rows, found.removed) == (4, 2)
    copies = tmp_path / "copies"
    assert pq.read_table(copies / "00000.parquet")["key"].to_pylist() == [keys[1], keys[2]]
    if form == "files":
        assert [path.name for path in (copies / "00000").iterdir()] == [f"{keys[1]}.jpg"]
    else:
        with tarfile.open(copies / "00000.tar") as tar:
            assert tar.getnames() == [f"{keys[1]}.jpg"]


def test_a_run_that_read_no_files_is_refused_with_a_remedy(tmp_path: Path) -> None:
    from scanner.curation.copies.shards import shards_of
    from scanner.run import Plan
    from scanner.storage import Roots

    plan = Plan(({"run": "r", "where": "true"},), (), (), (), (), {"samples": 0}, {})
    with pytest.raises(UserError, match="read no files; curate that run"):
        shards_of(plan, str(tmp_path), Roots())
