"""Copies equal the results of an independent filter."""

import io
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.formats import inspect
from scanner.curation import curate
from scanner.curation.copies.clean_parquet import clean_parquet
from scanner.curation.copies.cleaning import write_clean
from scanner.curation.copies.copying import Applied, apply
from scanner.errors import UserError
from scanner.query import open_run
from tests.curation.runs import LOUD, loudness, make_run, policy, rule
from tests.tables import FORMATS, random_rows, read_table, write_table

DROP = policy(rule("loud", LOUD, "drop"))


def applied(tmp_path: Path, data: Path, **options) -> Applied:
    run = make_run(tmp_path / "run", loudness, captions=(str(data),), **options)
    curate(run, open_run(run), DROP, str(tmp_path / "list"), force=True)
    return apply(run, str(tmp_path / "list"), str(tmp_path / "copies"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FORMATS)
def test_a_copy_has_the_other_rows_and_their_files(tmp_path: Path, name: str, seed: int) -> None:
    rows = random_rows(seed, 60, name)
    source, target = tmp_path / "in" / name, tmp_path / name
    source.parent.mkdir()
    write_table(source, rows)
    removed = set(random.Random(seed).sample(range(60), 20))
    write_clean(source, target, removed, inspect(str(source)).quoting)
    kept = [row for number, row in enumerate(rows) if number not in removed]
    assert read_table(target) == kept


@pytest.mark.slow
def test_apply_removes_and_counts_the_listed_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "d"
    kept = {}
    for name in FORMATS:
        rows = random_rows(9, 40, name)
        for row in rows[::3]:
            row["caption"] = "loud " + str(row["caption"])
        # Of rows that share an image, all go: these do not.
        for row in rows:
            row["url"] = f"{row['url']}/{name}"
        place = f"{name.replace('.', '-')}/{name}"
        (data / place).parent.mkdir(parents=True)
        write_table(data / place, rows)
        kept[place] = [row for number, row in enumerate(rows) if number % 3]
    found = applied(tmp_path, data)
    assert (found.rows, found.kept) == (40 * len(FORMATS), 26 * len(FORMATS))
    assert {place: read_table(tmp_path / "copies" / place) for place in kept} == kept


@pytest.mark.slow
@pytest.mark.parametrize("quoting", ["auto", "standard", "none"])
def test_a_tsv_is_copied_with_the_quoting_of_the_scan(tmp_path: Path, quoting: str) -> None:
    data = tmp_path / "d"
    data.mkdir()
    lines = [f'{chr(34) * (k % 10 == 0)}{"loud" if k % 2 else "quiet"} {k}\tu{k}\n'
             for k in range(200)]  # fmt: skip
    (data / "a.tsv").write_text("caption\turl\n" + "".join(lines))
    found = applied(tmp_path, data, quoting=quoting)
    assert (found.rows, found.kept) == (200, 100)
    kept = [line for line in lines if "loud" not in line]
    assert (tmp_path / "copies" / "a.tsv").read_text() == "caption\turl\n" + "".join(kept)


@pytest.mark.slow
def test_a_copy_whose_quotes_would_merge_rows_is_refused(tmp_path: Path) -> None:
    """A row that a stray quote would close in goes, and with it what showed the quote as stray."""
    data = tmp_path / "d"
    data.mkdir()
    rows = ['"quiet', 'loud "so"', "quiet two", 'Monitor 27"']
    (data / "a.csv").write_text("caption,key\n" + "".join(f"{row},k\n" for row in rows))
    with pytest.raises(UserError, match="--quoting none") as caught:
        applied(tmp_path, data)
    assert "report" not in str(caught.value)


@pytest.mark.slow
def test_an_img2dataset_shard_that_loses_no_row_is_copied(tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir()
    for shard, caption in enumerate(("loud", "quiet")):
        table = {
            "key": [f"{shard}0"],
            "url": [caption],
            "status": ["success"],
            "caption": [caption],
        }
        pq.write_table(pa.table(table), data / f"{shard}.parquet")
        with tarfile.open(data / f"{shard}.tar", "w") as tar:
            for name in ("README.md", f"._{shard}0.jpg", f"{shard}0.jpg"):
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert applied(tmp_path, data).removed == 1
    for shard, names in enumerate((["README.md", "._00.jpg"], ["README.md", "._10.jpg", "10.jpg"])):
        with tarfile.open(tmp_path / "copies" / f"{shard}.tar") as tar:
            assert tar.getnames() == names


@pytest.mark.slow
@pytest.mark.parametrize("beside", [True, False])
def test_a_tar_with_scattered_samples_is_refused(tmp_path: Path, beside: bool) -> None:
    """Whether it is scanned itself, or lies beside the table that img2dataset wrote."""
    data = tmp_path / "d"
    data.mkdir()
    names = ["0.jpg", "1.jpg", "0.json", "1.json"]
    with tarfile.open(data / "a.tar", "w") as tar:
        for name in names if beside else sorted(names):
            text = b'{"caption": "loud"}' if name.endswith("json") else b""
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    if beside:
        table = {"key": ["0", "1"], "url": ["u", "v"], "status": ["success"] * 2}
        pq.write_table(pa.table({**table, "caption": ["loud", "quiet"]}), data / "a.parquet")
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    curate(run, open_run(run), DROP, str(tmp_path / "list"), force=True)
    if not beside:
        with tarfile.open(data / "a.tar", "w") as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(UserError, match=r"sample 0 are not adjacent"):
        apply(run, str(tmp_path / "list"), str(tmp_path / "copies"))
    assert not (tmp_path / "copies" / "a.tar").exists()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.jsonl.gz", "a.tar", "a.parquet"])
def test_a_file_that_loses_no_row_is_copied_unchanged(tmp_path: Path, name: str) -> None:
    for data in (b"", b"any bytes"):
        (tmp_path / "in").write_bytes(data)
        write_clean(tmp_path / "in", tmp_path / name, set())
        assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize("hard", [True, False])
def test_links_to_a_removed_sample_are_removed_or_refused(tmp_path: Path, hard: bool) -> None:
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for name, target in (("0.txt", ""), ("0.jpg", "x"), ("1.txt", ""), ("1.jpg", "0.txt")):
            info = tarfile.TarInfo(name)
            if target:
                info.type, info.linkname = tarfile.LNKTYPE if hard else tarfile.SYMTYPE, target
            tar.addfile(info, io.BytesIO())
    if hard:
        with pytest.raises(ValueError, match=r"1.jpg is a hard link to 0.txt, which is removed"):
            write_clean(tmp_path / "in.tar", tmp_path / "out.tar", {0})
        return
    write_clean(tmp_path / "in.tar", tmp_path / "out.tar", {0})
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert tar.getnames() == ["1.txt", "1.jpg"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_row_group_too_large_to_read_is_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Either its size says so, or reading fails: of the whole, and of batches that are large."""
    images = [{"bytes": bytes([k]) * 1000, "path": str(k)} for k in range(100)]
    table = pa.table({"key": range(100), "image": images})
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source, row_group_size=70, compression="none", use_dictionary=False)
    sizes = (1 << 30, 1 << 30) if fails else (20_000, 5_000)
    if fails:
        plain = pq.ParquetFile.iter_batches

        def whole(*_: object) -> None:
            raise pa.ArrowNotImplementedError("chunked array outputs")

        def batches(file: pq.ParquetFile, size: int, **options):
            for number, batch in enumerate(plain(file, size, **options)):
                if size > 10 and number > 0:
                    raise pa.ArrowInvalid("List index overflow.")
                yield batch

        monkeypatch.setattr(pq.ParquetFile, "read_row_group", whole)
        monkeypatch.setattr(pq.ParquetFile, "iter_batches", batches)
    clean_parquet(source, target, {0, 50, 99}, *sizes)
    monkeypatch.undo()
    kept = [k for k in range(100) if k not in {0, 50, 99}]
    assert pq.read_table(target).equals(table.take(kept))
    groups = pq.read_metadata(target).num_row_groups
    assert groups == 2 if fails else 4 < groups < 10


def test_timestamps_after_2262_are_copied_unchanged(tmp_path: Path) -> None:
    for unit, times in (("us", [253402214400000000, 1]), ("ns", [1, 2])):
        table = pa.table({"t": pa.array(times, pa.timestamp(unit))})
        source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
        pq.write_table(table, source, use_deprecated_int96_timestamps=True, store_schema=False)
        write_clean(source, target, {1})
        copied = pq.ParquetFile(target, coerce_int96_timestamp_unit=unit).read()
        assert copied["t"].cast(pa.int64()).to_pylist() == times[:1]
