"""Input files, as they are named by a folder, a pattern or a path."""

from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.storage import expand


def test_expand_finds_files_in_order_and_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("b.csv", "a.parquet", "sub/c.jsonl.gz", "note.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    endings = (".csv", ".parquet", ".jsonl.gz")
    names = [Path(f).name for f in expand((str(tmp_path),), endings)]
    assert names == ["a.parquet", "b.csv", "c.jsonl.gz"]
    assert len(expand((str(tmp_path / "*.csv"), str(tmp_path)), endings)) == 3
    with pytest.raises(UserError, match="no such file"):
        expand((str(tmp_path / "missing.csv"),), endings)
    with pytest.raises(UserError, match="no file ends in"):
        expand((str(tmp_path / "*.md"),), endings)
