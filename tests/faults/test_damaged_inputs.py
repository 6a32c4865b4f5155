"""Input files that are cut off or broken, in a whole scan."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.identity import caption_ids
from tests.memscan import memscan
from tests.whole_scans import assert_nothing_lost, make_captions, scores

CAPTIONS = 200


@pytest.mark.faults
def test_damaged_input_files_cost_what_they_hold_and_no_more(tmp_path: Path) -> None:
    captions = make_captions(CAPTIONS)
    good, cut, quoted = captions[:100], captions[100:150], captions[150:]
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join(["caption", *good]) + "\n")
    pq.write_table(pa.table({"caption": cut}), folder / "b.parquet")
    (folder / "c.csv").write_text("\n".join(["caption", *quoted]) + "\n")
    whole, out = str(tmp_path / "whole"), str(tmp_path / "run")
    command = ("scan", "--model", "testbed", "--profile", "triage", "--captions", str(folder))
    memscan(*command, "--out", whole)

    content = (folder / "b.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(content[: len(content) // 2])
    # A quote that closes inside a line; at its end it would make a cell of several lines.
    quoted[10], quoted[14] = f'"{quoted[10]}', f'{quoted[14]}" and more'
    (folder / "c.csv").write_text("\n".join(["caption", *quoted]) + "\n")
    done = memscan(*command, "--out", out, check=False)
    assert done.returncode == 3
    assert "input files could not be read completely: 1;" in done.stderr
    lost = frozenset(caption_ids([*cut, *captions[160:165]]).to_pylist())
    told = assert_nothing_lost(out, scores(whole), lost)
    assert told["captions"] == CAPTIONS - len(lost)
    assert told["rejects"]["unreadable file"] == 1
    assert told["rejects"]["bad row"] == 1
