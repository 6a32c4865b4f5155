"""A list applied to another copy of the data: other files, order and columns, same samples."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.curate import main
from scanner.curation.copies.other_copy import apply_to
from scanner.errors import UserError
from tests.curation.runs import loudness, make_run

POLICY = """
name = "mine"
version = 1
limits = {source = 1.0, cluster = 1.0}
[[rule]]
reason = "loud"
when = "noise_norm_first > 5"
action = "drop"
"""
ROWS = [(f"id-{k}", f"loud {k}" if k % 3 else f"quiet {k}", f"https://x/{k}") for k in range(20)]
KEPT = [key for key, caption, _ in ROWS if "quiet" in caption]


def write_copies(folder: Path) -> Path:
    """The same samples in reverse order: half in a tar with keys, half downloaded again."""
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as tar:
        for k, (key, caption, _) in enumerate(reversed(ROWS[:10])):
            fields = json.dumps({"uid": key, "caption": caption}).encode()
            for ending, data in (("jpg", b"\xff" * 9), ("json", fields)):
                info = tarfile.TarInfo(f"{k:04d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    again = ROWS[:9:-1]
    # img2dataset's keys count the rows of a download.
    columns = {"key": [f"id-{k}" for k in range(10)], "url": [url for *_, url in again]}
    columns |= {"status": ["success"] * 10, "name": [key for key, *_ in again]}
    pq.write_table(pa.table(columns), folder / "b.parquet")
    return folder


@pytest.mark.slow
def test_rows_of_another_copy_are_found_by_key_or_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = dict(zip(("uid", "caption", "url"), map(list, zip(*ROWS, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "scanned.parquet")
    run = make_run(tmp_path / "run", loudness, captions=(str(tmp_path / "scanned.parquet"),))
    other = write_copies(tmp_path / "other")
    (tmp_path / "p.toml").write_text(POLICY)
    words = [run, "--policy", f"{tmp_path}/p.toml", "--out", f"{tmp_path}/o", "--json"]
    words += ["--apply", f"{tmp_path}/clean", "--apply-to", str(other)]
    assert main(words) == 0
    applied = json.loads(capsys.readouterr().out)["apply"]
    assert (applied["rows"], applied["kept"], applied["removed"]) == (20, len(KEPT), 20 - len(KEPT))
    with tarfile.open(tmp_path / "clean" / "a.tar") as tar:
        records = [tar.extractfile(one) for one in tar.getmembers() if one.name.endswith("json")]
        keys = [json.loads(file.read())["uid"] for file in records if file]
    keys += pq.read_table(tmp_path / "clean" / "b.parquet")["name"].to_pylist()
    assert sorted(keys) == sorted(KEPT)
    first = (tmp_path / "clean" / "b.parquet").read_bytes()
    assert main(words) == 0  # resumes: all is copied
    assert (tmp_path / "clean" / "b.parquet").read_bytes() == first
    (tmp_path / "bare.csv").write_text("caption\nloud\n")
    with pytest.raises(UserError, match=r"bare\.csv: no column uid, key, .* to find removed"):
        apply_to([f"{tmp_path}/bare.csv"], f"{tmp_path}/o", f"{tmp_path}/c", "uid")
