"""Lists for training code, and the filter, in the libraries that read them."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner import RemovalFilter
from scanner.curation import Summary, curate
from scanner.errors import UserError
from scanner.query import open_run
from tests.curation.runs import LOUD, loudness, make_run, policy, rule
from tests.killed_writes import Killed, count_changes

DROP = policy(rule("loud", LOUD, "drop"))
ROWS = 60
UIDS = [f"{7919 * (k + 1):032x}" for k in range(ROWS)]
LOUD_ROWS = range(0, ROWS, 3)


def write_tar(path: Path) -> Path:
    """A WebDataset shard whose keys are its samples', with uids in the json."""
    with tarfile.open(path, "w") as tar:
        for k, uid in enumerate(UIDS):
            caption = f"loud {k}" if k in LOUD_ROWS else f"quiet {k}"
            fields = json.dumps({"uid": uid, "caption": caption, "url": f"https://x/{k}"})
            for ending, data in (("jpg", b"\xff" * 9), ("json", fields.encode())):
                info = tarfile.TarInfo(f"{k:04d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """The directory of a list, beside the shard 0.tar, and the summary."""
    folder = tmp_path_factory.mktemp("lists")
    shard = write_tar(folder / "0.tar")
    run = make_run(folder / "run", loudness, captions=(str(shard),))
    out = folder / "curated"
    return out, curate(run, open_run(run), DROP, str(out), force=True)


def test_uids_to_keep_are_a_sorted_array_as_the_resharder_takes(
    curated: tuple[Path, Summary],
) -> None:
    kept = np.load(curated[0] / "keep_uids.npy", mmap_mode="r", allow_pickle=False)
    wanted = [uid for k, uid in enumerate(UIDS) if k not in LOUD_ROWS]
    # As DataComp's README says to make the file.
    expected = np.array([(int(u[:16], 16), int(u[16:32], 16)) for u in wanted], np.dtype("u8,u8"))
    expected.sort()
    assert kept.dtype == expected.dtype
    assert kept.tolist() == expected.tolist()
    assert curated[1].lists
    assert curated[1].lists.entries == {
        "removed.npy": 20,
        "removed_keys.txt": 20,
        "removed_urls.txt": 20,
        "keep_uids.npy": 40,
    }
    assert "keep_uids.npy (40)" in (curated[0] / "summary.txt").read_text()
    assert json.loads((curated[0] / "summary.json").read_text())["lists"]["shared_keys"] == 0


def test_removed_keys_and_urls_are_text(curated: tuple[Path, Summary]) -> None:
    keys = (curated[0] / "removed_keys.txt").read_text().splitlines()
    assert keys == sorted(UIDS[k] for k in LOUD_ROWS)
    urls = (curated[0] / "removed_urls.txt").read_text().splitlines()
    assert urls == sorted(f"https://x/{k}" for k in LOUD_ROWS)
    assert (curated[0] / "removed.npy").stat().st_size == 128 + 16 * len(keys)


def test_webdataset_selects_the_kept_samples(curated: tuple[Path, Summary]) -> None:
    import webdataset

    shard = str(curated[0].parent / "0.tar")
    keep = RemovalFilter(curated[0], by="json.uid")
    kept = [f"{k:04d}" for k in range(ROWS) if k not in LOUD_ROWS]
    samples = webdataset.WebDataset(shard, shardshuffle=False).select(keep)
    assert [sample["__key__"] for sample in samples] == kept
    decoded = webdataset.WebDataset(shard, shardshuffle=False).decode().select(keep)
    assert [sample["__key__"] for sample in decoded] == kept


@pytest.mark.slow
def test_hugging_face_datasets_filter_by_key_or_url(curated: tuple[Path, Summary]) -> None:
    import datasets

    rows = {"uid": UIDS, "url": [f"https://x/{k}" for k in range(ROWS)]}
    data = datasets.Dataset.from_dict(rows)
    kept = [uid for k, uid in enumerate(UIDS) if k not in LOUD_ROWS]
    by_key = RemovalFilter(curated[0], by="uid")
    assert data.filter(by_key, num_proc=1, load_from_cache_file=False)["uid"][:] == kept
    by_url = RemovalFilter(curated[0] / "removed_urls.txt", by="url")
    assert data.filter(by_url, load_from_cache_file=False)["uid"][:] == kept
    at_once = data.filter(
        lambda keys: by_key.keeps(keys).tolist(), input_columns="uid", batched=True
    )
    assert at_once["uid"][:] == kept


def test_pytorch_loads_the_kept_samples_in_workers(curated: tuple[Path, Summary]) -> None:
    from torch.utils.data import DataLoader, Dataset, Subset

    class Uids(Dataset):
        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, index: int) -> str:
            return UIDS[index]

    keep = RemovalFilter(str(curated[0]))
    kept = Subset(Uids(), keep.kept(UIDS))
    loaded = [uid for batch in DataLoader(kept, batch_size=7) for uid in batch]
    assert loaded == [uid for k, uid in enumerate(UIDS) if k not in LOUD_ROWS]
    assert len(pickle.dumps(keep)) < 1000
    assert pickle.loads(pickle.dumps(keep)).keeps(UIDS).tolist() == keep.keeps(UIDS).tolist()


def test_a_sample_without_the_field_is_an_error(curated: tuple[Path, Summary]) -> None:
    keep = RemovalFilter(curated[0], by="key")
    with pytest.raises(KeyError, match="no field key; it has __key__"):
        keep({"__key__": UIDS[0]})
    with pytest.raises(KeyError, match="name the field"):
        RemovalFilter(curated[0])({"key": UIDS[0]})
    with pytest.raises(UserError, match=r"RemovalFilter: .*nothing\.txt: cannot be read"):
        RemovalFilter(str(curated[0] / "nothing.txt"))


def test_a_filter_reads_tables_that_name_samples(curated: tuple[Path, Summary]) -> None:
    keep = RemovalFilter(curated[0] / "removal_list.parquet", by="uid")
    assert [keep({"uid": uid}) for uid in UIDS] == [k not in LOUD_ROWS for k in range(ROWS)]


@pytest.mark.slow
def test_kept_samples_with_a_removed_url_are_counted(tmp_path: Path) -> None:
    columns = {"caption": ["loud"] * 3 + ["quiet"], "url": ["u", "u", "v", "w"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    data = (str(tmp_path / "a.parquet"),)
    run = make_run(tmp_path / "run", loudness, captions=data, keep=("url",), image_key="none")
    cap = policy(rule("loud", LOUD, "cap", keep=1))
    summary = curate(run, open_run(run), cap, str(tmp_path / "o"), force=True)
    assert summary.lists
    assert summary.lists.entries["removed_urls.txt"] == 2
    assert summary.lists.shared_urls == 1  # the first row, kept by the cap
    assert "1 kept sample with a removed URL, which removed_urls.txt names too" in summary.to_text()


@pytest.mark.slow
def test_keys_that_lists_cannot_tell_apart_are_counted(tmp_path: Path) -> None:
    rows = [("a", "loud 1"), ("a", "quiet 1"), ("b\nc", "loud 2"), (None, "loud 3"), ("d", "quiet")]
    columns = {"key": [key for key, _ in rows], "caption": [caption for _, caption in rows]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    run = make_run(tmp_path / "run", loudness, captions=(str(tmp_path / "a.parquet"),))
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "keep_uids.npy").write_bytes(b"of an earlier list")
    lists = curate(run, open_run(run), DROP, str(tmp_path / "o"), force=True).lists
    assert lists
    assert (lists.shared_keys, lists.with_line_breaks, lists.without_key) == (1, 1, 1)
    assert (tmp_path / "o" / "removed_keys.txt").read_text() == "a\n"
    assert not RemovalFilter(tmp_path / "o")("b\nc")
    assert "not uids" in lists.not_written["keep_uids.npy"]
    assert "--keep" in lists.not_written["removed_urls.txt"]
    assert not (tmp_path / "o" / "keep_uids.npy").exists()


@pytest.mark.slow
def test_rejected_rows_keep_their_uids_as_the_policy_says(tmp_path: Path) -> None:
    captions = ["loud", "quiet", None]
    table = pa.table({"uid": UIDS[:3], "caption": captions})
    pq.write_table(table, tmp_path / "a.parquet")
    run = make_run(tmp_path / "run", loudness, captions=(str(tmp_path / "a.parquet"),))
    for rejects, kept in (("keep", UIDS[1:3]), ("drop", UIDS[1:2])):
        given = policy(rule("loud", LOUD, "drop"), rejects=rejects)
        curate(run, open_run(run), given, str(tmp_path / rejects), force=True)
        found = np.load(tmp_path / rejects / "keep_uids.npy")
        assert [f"{a:016x}{b:016x}" for a, b in found.tolist()] == kept


@pytest.mark.slow
def test_curate_rerun_after_a_kill_writes_the_same_files(
    curated: tuple[Path, Summary], tmp_path: Path
) -> None:
    run = str(curated[0].parent / "run")

    def again() -> None:
        curate(run, open_run(run), DROP, str(tmp_path), force=True)

    changes = count_changes(again)
    expected = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(expected) == changes == 9
    for kill in (1, 5):
        for path in tmp_path.iterdir():
            path.unlink()
        with pytest.raises(Killed):
            count_changes(again, kill)
        again()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected
