"""Shards that cannot be copied: each is named once, and the same call goes on when they are back;
and what the scan kept under any name is compared with the shard's own columns."""

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scanner.curation.copies.copying import NAMED, apply
from scanner.curation.removals import name_in_list
from scanner.errors import UserError
from scanner.query import library
from tests.curation.copies.test_apply import files_of, listed, small
from tests.curation.runs import loudness, make_run
from tests.local_ray import local_ray
from tests.logs import logged

# The samples' own, which no scan keeps another column as.
SAMPLES_OWN = {"caption_id", "source", "row", "key", "image_key"}


def write(folder: Path, shards: int, first: str = "a") -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(shards):
        (folder / f"{number:02d}.csv").write_text(f"key,caption\n{first},loud\nb,quiet {number}\n")
    return folder


def test_a_pool_reports_refused_shards_once_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "d", 5)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    out, copies = listed(run, tmp_path / "list"), tmp_path / "copies"
    write(data, 4, "z")
    with local_ray(), logged() as lines:
        with pytest.raises(UserError) as error:
            apply(run, out, str(copies))
        assert lines[0] == "apply: 5 shards to copy"
        first, *reasons = str(error.value).splitlines()
        assert "4 of 5 shards could not be copied; the other 1 is. Fix this and rerun" in first
        assert len(reasons) == 4
        for number, reason in enumerate(sorted(reasons)):
            assert reason.startswith(f"  {data}/{number:02d}.csv: changed since the scan")
        write(data, 4)
        found = apply(run, out, str(copies))
    # Between them, every ten seconds, how many are copied.
    others = [line for line in lines[1:] if not line.endswith("shards copied")]
    assert others == ["resuming: 1 of 5 shards are copied already", "apply: 4 shards to copy"]
    assert (found.kept, found.removed) == (5, 5)
    assert len(files_of(copies)) == 5


@pytest.mark.slow
def test_many_refused_shards_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path / "d", NAMED + 2)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    out = listed(run, tmp_path / "list")
    write(data, NAMED + 2, "z")
    for _ in range(2):  # a shard that is refused again is told of again
        with pytest.raises(UserError, match=r"12 of 12 shards could not be copied\. Fix") as error:
            apply(run, out, str(tmp_path / "copies"), pool_from=1000)
        assert len(str(error.value).splitlines()) == NAMED + 2
        assert str(error.value).endswith("  and 2 more")


@pytest.mark.slow
def test_kept_columns_of_any_name_are_listed_and_compared(
    tmp_path: Path,
) -> None:
    own = [name for name in library()["removal_list"].columns if name not in SAMPLES_OWN]
    kept = [*own, "policy", "kept_score", "kept_", "_flag", "_by", "size"]
    names = [name.title() if name == "via" else name for name in kept]
    rows = [[f"{name} {k}" for name in names] for k in range(2)]
    lines = [["caption", *names], ["loud", *rows[0]], ["quiet", *rows[1]]]
    (tmp_path / "d").mkdir()
    with (tmp_path / "d" / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    run = make_run(
        tmp_path / "run", loudness, captions=(f"{tmp_path}/d",), keep=tuple(names), key_column=None
    )
    out = listed(run, tmp_path / "list")
    (row,) = pq.read_table(f"{out}/removal_list.parquet").to_pylist()
    assert {name: row[name_in_list(name)] for name in names} == dict(
        zip(names, rows[0], strict=True)
    )
    assert (row["action"], row["score"], row["size"]) == ("drop", 9.0, "size 0")
    assert [name_in_list(name) for name in ("score", "Via", "kept_score", "size")] == [
        "kept_score", "kept_Via", "kept_kept_score", "size",
    ]  # fmt: skip
    assert apply(run, out, str(tmp_path / "copies")).kept == 1
    text = (tmp_path / "d" / "a.csv").read_text()
    (tmp_path / "d" / "a.csv").write_text(text.replace(",score 0,", ",another,"))
    with pytest.raises(UserError, match="row 0 has score = 'another', but 'score 0' was scanned"):
        apply(run, out, str(tmp_path / "other"))


@pytest.mark.slow
def test_a_count_of_one_is_singular(tmp_path: Path) -> None:
    data = small(tmp_path / "d", "key,caption\na,loud\nb,quiet\n")
    (data / "b.csv").write_text("no,known,column\n1,2,3\n")
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    found = apply(run, listed(run, tmp_path / "list"), str(tmp_path / "copies"))
    assert found.to_text() == (
        f"{tmp_path}/copies: 1 shard with 1 row of 2 (1 removed), and 1 file never scanned, "
        "copied whole"
    )
