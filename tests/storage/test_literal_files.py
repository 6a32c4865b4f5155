"""Files that are served by encoded names, to many threads at once."""

import os
import random
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scanner.storage import LiteralFiles, Store
from scanner.storage.literal_files import SharedFile

NUMBERS = 200_000


def test_threads_that_share_a_file_read_where_each_has_sought(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(struct.pack(f"{NUMBERS}I", *range(NUMBERS)))
    file = SharedFile(lambda: path.open("rb", buffering=0))

    def wrong(seed: int) -> int:
        choose, count = random.Random(seed), 0
        for _ in range(2000):
            place = choose.randrange(NUMBERS)
            file.seek(4 * place)
            count += struct.unpack("I", file.read(4)) != (place,)
            assert file.tell() == 4 * place + 4
        return count

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(wrong, range(8))) == 0
    file.close()


def test_a_served_name_needs_no_escaping_and_opens_its_file(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "a=b" / "[1]*"), single_writer=True)
    store.write("x?{y}.parquet", b"content")
    files = LiteralFiles()
    url = files.add(store, "x?{y}.parquet")
    assert not set(url) & set("[]*?{}=")
    assert files.glob(url) == [url]
    assert files.size(url) == 7
    file = files.open(url)
    assert (file.seek(-3, os.SEEK_END), file.read(), file.tell()) == (4, b"ent", 7)
    assert (file.seek(-6, os.SEEK_CUR), file.read(2)) == (1, b"on")
    file.close()


def test_what_was_not_added_or_is_gone_is_not_found(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"), single_writer=True)
    files = LiteralFiles()
    for url in ("run:///etc/passwd", "/etc/passwd", files.add(store, "gone.parquet")):
        with pytest.raises(FileNotFoundError):
            files.open(url)
