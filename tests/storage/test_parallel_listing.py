"""Listings of large S3 folders: exactly what a plain listing finds, a bounded number at a time."""

import asyncio
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from scanner.storage import Store, Stored
from scanner.storage.parallel_listing import LISTERS, list_folder
from scanner.storage.retrying_s3 import RetryingS3
from tests.waiting import run_in_thread

PAGE = 10


class Bucket:
    """Sorted keys that are listed in pages as S3 does; counts requests."""

    def __init__(self, keys: Sequence[str], knows_start: bool = True) -> None:
        self.keys = sorted(set(keys), key=str.encode)
        self.encoded = [key.encode() for key in self.keys]
        self.knows_start = knows_start
        self.requests = self.running = self.most = 0

    async def request(
        self,
        Prefix: str,
        Delimiter: str,
        MaxKeys: int,
        StartAfter: str = "",
        ContinuationToken: str = "",
    ) -> dict[str, Any]:
        self.requests += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        after = ContinuationToken or (StartAfter if self.knows_start else "")
        keys, folders = [], []
        for key in self.keys[bisect_right(self.encoded, after.encode()) :]:
            if not key.startswith(Prefix):
                continue
            if len(keys) + len(folders) == MaxKeys:
                token = max([*keys[-1:], *(one + "\U0010ffff" for one in folders[-1:])])
                return _page(keys, folders, token)
            head, slash, _ = key[len(Prefix) :].partition("/")
            if not slash:
                keys.append(key)
            elif f"{Prefix}{head}/" not in folders:
                folders.append(f"{Prefix}{head}/")
        return _page(keys, folders)


def _page(keys: list[str], folders: list[str], token: str = "") -> dict[str, Any]:
    return {
        "Contents": [{"Key": key, "Size": len(key), "ETag": f"<{key}>"} for key in keys],
        "CommonPrefixes": [{"Prefix": folder} for folder in folders],
        "IsTruncated": bool(token),
        "NextContinuationToken": token,
    }


def _numbered(count: int) -> list[str]:
    return [f"run/commits/{number:06d}.0.json" for number in range(count)]


def _random_names(count: int) -> list[str]:
    choose = random.Random(count)
    ends = ["", "9~", ":", "é", "\U0010ffff", "-", ".json", "/x", "/y", "a/9"]
    return [
        f"run/commits/{choose.choice(['', '0', '00', '9', 'z'])}{choose.randrange(10**3)}"
        f"{choose.choice(ends)}"
        for _ in range(count)
    ]


CASES: dict[str, Callable[[], list[str]]] = {
    "nothing": list,
    "one page": lambda: _numbered(PAGE),
    "one name more": lambda: _numbered(PAGE + 1),
    "slices": lambda: _numbered(1234),
    "slices of seven digits": lambda: [
        f"run/commits/{number:06d}.0.json" for number in range(999_500, 1_000_700)
    ],
    "several generations": lambda: [
        name.replace(".0.", f".{number}.") for name in _numbered(99) for number in range(3)
    ],
    "groups, with a folder": lambda: [
        *(f"run/compaction/{n:06d}-{n + 99:06d}.100.json" for n in range(0, 50_000, 100)),
        *(f"run/compaction/removed/{n:06d}.0.json" for n in range(100)),
    ],
    "no digits": lambda: [f"run/commits/{chr(97 + n % 26)}{n}" for n in range(300)],
    "random names": lambda: _random_names(2000),
    "folders": lambda: [f"run/commits/{n}/{m}" for n in range(40) for m in range(3)],
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("knows_start", [True, False])
def test_the_same_files_are_found_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch, name: str, knows_start: bool
) -> None:
    monkeypatch.setattr("scanner.storage.parallel_listing.PAGE_NAMES", PAGE)
    keys = CASES[name]()
    folder = keys[0].rpartition("/")[0] + "/" if name != "folders" and keys else "run/commits/"
    folder = "/".join(folder.split("/")[:2]) + "/"
    others = ["run/commit", "run/commits.json", "run/commitsa/0", "run/compactio/0", "z"]
    bucket = Bucket([*keys, *others], knows_start)
    found = run_in_thread(list_folder(bucket.request, folder))
    expected = {key for key in keys if "/" not in key.removeprefix(folder)}
    assert found == {key: Stored(len(key), f"<{key}>") for key in expected}
    assert bucket.most <= LISTERS


@pytest.mark.slow
def test_slices_take_few_requests_more_than_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanner.storage.parallel_listing.PAGE_NAMES", PAGE)
    bucket = Bucket(_numbered(9_766))
    run_in_thread(list_folder(bucket.request, "run/commits/"))
    assert bucket.requests <= 1.25 * 977
    assert bucket.most == LISTERS
    few = Bucket(_numbered(PAGE))
    run_in_thread(list_folder(few.request, "run/commits/"))
    assert few.requests == 1


def test_a_failed_request_ends_the_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanner.storage.parallel_listing.PAGE_NAMES", PAGE)
    bucket = Bucket(_numbered(5000))

    async def request(**arguments: Any) -> dict[str, Any]:
        page = await bucket.request(**arguments)
        if bucket.requests >= 50:
            raise PermissionError("denied")
        return page

    with pytest.raises(PermissionError, match="denied"):
        run_in_thread(list_folder(request, "run/commits/"))
    assert bucket.requests < 150, "of 600"


def test_an_s3_server_is_listed_in_parallel(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanner.storage.parallel_listing.PAGE_NAMES", PAGE)
    store = Store(f"{s3}/{tmp_path.name}")
    names = [f"commits/{number:06d}.0.json" for number in range(300)]
    odd = "commits/x <&> %20+ü.json"
    for name in [*names, "commits/.hidden", odd, "commits/1/a", "commit/000000"]:
        store.write(name, name.encode())
    running, beside, seconds = 0, [], 0.2
    request = RetryingS3._request

    async def slow(self: RetryingS3, method: str, *options: Any, **arguments: Any) -> Any:
        nonlocal running
        running += 1
        beside.append(running)
        await asyncio.sleep(seconds)
        running -= 1
        return await request(self, method, *options, **arguments)

    monkeypatch.setattr(RetryingS3, "_request", slow)
    files = store.files("commits")
    assert list(files) == [*names, odd]
    plain = {
        entry["name"]: entry
        for entry in store._fs.ls(f"bucket/{tmp_path.name}/commits", detail=True)
    }
    for name, file in files.items():
        entry = plain[f"bucket/{tmp_path.name}/{name}"]
        assert file == Stored(entry["size"], entry["ETag"])
        assert "LastModified" in entry, "other listings have every field"
    assert 5 < max(beside) <= LISTERS
    alone = beside.count(1)
    assert alone < len(beside) / 3, "the pages one after another"
