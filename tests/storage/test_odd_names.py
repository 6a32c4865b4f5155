"""Names with characters that URLs, globs and back ends give a meaning are taken literally."""

from pathlib import Path

import pytest

from scanner.storage import Listing, Roots, Store, fetch, full_url, open_input

NAMES = [
    *("sp ace", " lead", "trail ", "100%", "per%20cent", "%2F", "plus+", "eq=1", "a&b", "a;b"),
    *("hash#1", "#", "q?x=1", "what?", "v?versionid=5", "v?versionId=5", "g?generation=7", "g#7"),
    *("[br]", "a[0-9]", "{c}", "'q'", '"dq"', "~t", "dot.", "grüße", "日本", "e\u0301", "a:b@c"),
]

# Few, for S3 connects anew for each URL; there, "?versionId=" names a version.
BY_URL = ("a 100%+1", "%2F=", "hash#1?x=1", "a[0-9]ü")


@pytest.fixture(params=["local", "s3", "gcs", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"{request.getfixturevalue(request.param)}/{tmp_path.name}")


@pytest.mark.slow
def test_odd_names_are_written_read_and_listed(store: Store) -> None:
    names = [f"runs/{name}/{name}.json" for name in NAMES]
    for name in names:
        assert store.create(name, name.encode()), name
        assert not store.create(name, b"another"), name
    assert store.folders("runs") == sorted(f"runs/{name}" for name in NAMES)
    for odd, name in zip(NAMES, names, strict=True):
        assert store.names(f"runs/{odd}") == [name]
        assert store.read(name) == name.encode()
        with store.open(name) as file:
            assert file.read() == name.encode()
    store.write(names[0], b"replaced")
    assert store.read(names[0]) == b"replaced"
    store.remove_folder("runs")
    assert store.folders("runs") == []


@pytest.mark.slow
def test_odd_names_are_inputs_by_name_and_in_a_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("caption\na cat\n")
    names = (*NAMES, *BY_URL)
    for name in names:
        store.upload(tmp_path / "rows", f"in/{name}.csv")
    whole = Listing().add([f"{store.url}/in"], lambda *_: "")
    assert sorted(whole) == sorted(store.location(f"in/{name}.csv") for name in names)
    roots = Roots.of([f"{store.url}/in"])
    for name in BY_URL:
        url = store.location(f"in/{name}.csv")
        listing = Listing()
        assert listing.add([url], lambda *_: "") == [full_url(url)], name
        assert list(listing.files.values()) == [14]
        assert open_input(full_url(url)).read() == b"caption\na cat\n"
        assert roots.why_refused(full_url(url)) == ""
    assert fetch(f"{store.url}/in", tmp_path / "cache").joinpath("100%.csv").exists()
