"""Names that others chose stay below their root, and only kinds of location in use are opened."""

from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.storage import Roots, Store, UnsafeName, download, files_at, split_url
from scanner.storage.walking import ELSEWHERE, Pattern, Skipped, walk

OUTSIDE = [
    *("..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a/", "a\\..\\b", "a\0b"),
    *("file:///etc/passwd", "s3://other/x", "http://h/x", "zip::x", "%2e%2e/x", "a/%252e%252e/b"),
]


@pytest.mark.parametrize("url", ["", "memory://root/run"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_store_refuses_names_that_leave_it(name: str, url: str, tmp_path: Path) -> None:
    store = Store(url or str(tmp_path / "run"), single_writer=True)
    (tmp_path / "source").write_text("x")
    for act in (
        lambda: store.read(name),
        lambda: store.open(name),
        lambda: store.exists(name),
        lambda: store.files(name),
        lambda: store.location(name),
        lambda: store.write(name, b"x"),
        lambda: store.create(name, b"x"),
        lambda: store.remove(name),
        lambda: store.remove_folder(name),
        lambda: store.upload(tmp_path / "source", name),
    ):
        with pytest.raises(UnsafeName, match="is refused"):
            act()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_links_out_of_a_store_are_refused_inside_it_followed(tmp_path: Path) -> None:
    (tmp_path / "run/scores").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (tmp_path / "private/key").write_text("secret")
    (tmp_path / "run/scores/a").write_text("a")
    (tmp_path / "run/out").symlink_to(tmp_path / "private")
    (tmp_path / "run/new").symlink_to(tmp_path / "private/new")
    (tmp_path / "run/in").symlink_to("scores")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for root in ("run", "link"):
        store = Store(str(tmp_path / root))
        assert store.read("in/a") == b"a"
        for name in ("out/key", "out", "new"):
            with pytest.raises(UnsafeName, match="link"):
                store.read(name)
        with pytest.raises(UnsafeName, match="link"):
            store.write("new", b"x")
        with pytest.raises(UnsafeName, match="link"):
            store.remove_folder("out")
    assert [path.name for path in (tmp_path / "private").iterdir()] == ["key"]


@pytest.mark.parametrize(
    "scheme",
    [
        *("ftp", "github", "zip", "jupyter", "reference", "cached", "simplecache", "dir", "python"),
        *("local", "filecache", "tar", "sftp", "smb", "git", "data", "simplecache::https", "S3"),
    ],
)
def test_other_kinds_of_location_are_refused_with_the_list(scheme: str) -> None:
    with pytest.raises(UserError, match=r"is not supported.* s3://, .*https://"):
        split_url(f"{scheme}://host/x")


class Listed:
    """A store whose listing has names of anyone's choice."""

    protocol = "s3"

    def __init__(self, *names: str) -> None:
        self.names = names

    def find(self, path: str, **_: object) -> dict[str, dict]:
        return {name: {"name": name, "type": "file", "size": 1} for name in self.names}

    def get_file(self, name: str, target: str) -> None:
        Path(target).write_text(name)

    def unstrip_protocol(self, name: str) -> str:
        return f"s3://{name}"


CLIMBING = ["b/d/../../victim/x.csv", "b/d/%2e%2e/x.csv", "other/x.csv", "b/dd/x.csv"]


def test_a_listing_that_climbs_is_refused_and_counted(tmp_path: Path) -> None:
    fs = Listed("b/d/a.csv", *CLIMBING)
    skipped = Skipped()
    assert [name for name, _ in walk(fs, "b/d", Pattern(), skipped)] == ["b/d/a.csv"]
    assert skipped.counts == {ELSEWHERE: len(CLIMBING)}
    files, refused = files_at(fs, "b/d")
    assert (list(files), sorted(refused)) == (["a.csv"], sorted(CLIMBING))
    download(fs, files, tmp_path / "copy")
    assert [path.name for path in tmp_path.rglob("*")] == ["copy", "a.csv"]
    with pytest.raises(UnsafeName):
        download(fs, {"../../x": {"name": "b/d/a.csv"}}, tmp_path / "copy")


def test_roots_hold_what_captions_named_and_nothing_else(tmp_path: Path) -> None:
    for name in ("d/a.csv", "d/b.csv", "g/x1.csv", "other/a.csv", "dd/a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("caption\nx\n")
    named = [f"{tmp_path}/d", f"{tmp_path}/g/*.csv", f"{tmp_path}/other/a.csv", "s3://b/data"]
    roots = Roots.of(named)
    for name in ("d/a.csv", "g/x1.csv", "g/sub/y.csv", "other/a.csv"):
        assert roots.why_refused(f"{tmp_path}/{name}") == ""
    assert roots.why_refused("s3://b/data/x.parquet") == ""
    outside = ("d/../other/b.csv", "dd/a.csv", "other/b.csv")
    for url in (
        *(f"{tmp_path}/{name}" for name in outside),
        *("/etc/passwd", "s3://b/database/x", "s3://other/data/x", "https://b/data/x", "b/data/x"),
        "s3://b/data/../secret",
    ):
        assert roots.why_refused(url), url
    assert Roots.of(named, [f"{tmp_path}/dd"]).why_refused(f"{tmp_path}/dd/a.csv") == ""
    (tmp_path / "d/a.csv").unlink()
    (tmp_path / "d/a.csv").symlink_to(tmp_path / "dd/a.csv")
    assert "link" in roots.why_refused(f"{tmp_path}/d/a.csv")
    assert Roots.of(named, [f"{tmp_path}/dd"]).why_refused(f"{tmp_path}/d/a.csv") == ""
