"""Stores that the package has no code for: taken if racing writers prove them, without caches."""

import sys
from pathlib import Path
from typing import Any

import pytest

from scanner.errors import UserError
from scanner.storage import Store, split_url
from scanner.storage.store import RACERS
from tests.caching_store import CachingStore, provide


class Overwriting(CachingStore):
    """Takes a create for a write."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        super().pipe_file(path, value)


class Unconditional(CachingStore):
    """Has never heard of a create."""

    def pipe_file(self, path: str, value: bytes) -> None:  # type: ignore[override]
        super().pipe_file(path, value)


def test_a_store_that_racing_writers_prove_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(provide(CachingStore, tmp_path, monkeypatch))
    assert store.preflight() == RACERS
    assert store.create("a", b"1")
    assert not store.create("a", b"2")


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Overwriting, "ignores conditional writes"), (Unconditional, "cannot create a file only if")],
)
def test_a_store_that_fails_the_race_is_refused(
    kind: type[CachingStore], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = provide(kind, tmp_path, monkeypatch)
    with pytest.raises(UserError, match=why):
        Store(url).preflight()
    alone = Store(url, single_writer=True)
    assert alone.preflight() == 1
    assert alone.create("b", b"1")
    assert not alone.create("b", b"2")


def test_listings_are_those_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = provide(CachingStore, tmp_path, monkeypatch)
    caching = CachingStore()
    stores = Store(f"{url}/run"), Store(f"{url}/run")
    for store in stores:
        store.write("commits/0", b"")
        assert store.names("commits") == ["commits/0"]
    assert len(caching.ls("bucket/run/commits")) == 1
    stores[0].create("commits/1", b"")
    assert [store.names("commits") for store in stores] == [["commits/0", "commits/1"]] * 2
    assert len(caching.ls("bucket/run/commits")) == 1, "the test's store caches"


@pytest.mark.parametrize("url", ["gs://bucket/x", "az://bucket/x", "memory://x"])
def test_no_file_system_caches_listings(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip({"gs": "gcsfs", "az": "adlfs"}.get(url[:2], "fsspec"))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ANON", "true")
    fs, _ = split_url(url)
    fs.dircache["x"] = []
    assert "x" not in fs.dircache


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        *(("gs://b/x", "gcsfs", "gcs"), ("gcs://b/x", "gcsfs", "gcs")),
        *(("az://b/x", "adlfs", "azure"), ("abfs://b/x", "adlfs", "azure")),
        ("abfss://b@a.dfs.core.windows.net/x", "adlfs", "azure"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (f"scanner.storage.retrying_{extra}", module, f"{module}.core"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"scanner.storage.retrying_{extra}")
    with pytest.raises(UserError, match=rf"pip install 'memorization-scanner\[{extra}\]'"):
        split_url(url)


def test_the_account_of_a_url_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ANON", "true")
    url = "abfs://data@account.dfs.core.windows.net/a#b?c"
    store = Store(url)
    assert store.location("x") == f"{url}/x"
    assert split_url(url)[1] == "data/a#b?c"
    assert split_url(url)[0].service_client.account_name == "account"


def test_two_accounts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs")
    settings = "DefaultEndpointsProtocol=https;AccountName=mine;AccountKey=a2V5"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", settings)
    with pytest.raises(UserError, match=r"names the account other, .*STRING mine; unset one"):
        Store("abfs://data@other.dfs.core.windows.net/x")


@pytest.mark.parametrize("host", ["evil.example", "a.dfs.core.windows.net.evil.example", "x@y.z"])
def test_credentials_are_sent_to_no_other_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    with pytest.raises(UserError, match="AZURE_STORAGE_CONNECTION_STRING"):
        Store(f"abfs://data@{host}/x")
