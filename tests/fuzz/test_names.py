"""Names by others: every file is listed once, and no name leads out of its place."""

import contextlib
import os
import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st

from scanner.captions.formats import ending_of, why_not_read
from scanner.errors import UserError
from scanner.evidence.training_images.image_path import UnsafeValue, filled, names_of
from scanner.storage import Listing, full_url, open_input
from scanner.storage.urls import refuse_credentials, split_url
from tests.fuzz.conftest import Explore

NAME_PIECES = (
    "a", "é", " ", "%41", "%2e%2e", "[1]", "*", "?", "::", "#", "&", "=", "{", "}", "'", '"', "\\",
    "~", "..", ".", "-", "\n", "\t", "\x1b", "\u202e", "😀", "\udcff", "http:", "a" * 99,
)  # fmt: skip
LONGEST_NAME = 255
SCHEMES = ("", "file://", "memory://", "local://", "nope://", "s3:/", "file:", "://", "zip://")
PATHS = (*NAME_PIECES, "/", "//", "../", "@", ":", ":80", "\x00")
VALUES = (
    *PATHS,
    "/etc/passwd",
    "http://",
    "https://h/",
    "file://",
    "C:\\",
    "..%2f",
    "\\..\\",
    ".",
    "",
)


def file_names() -> st.SearchStrategy[str]:
    """What a Linux directory can hold, and a listing would read."""
    stem = st.lists(st.sampled_from(NAME_PIECES), min_size=1, max_size=3).map("".join)
    visible = stem.filter(lambda name: name[0] not in "._").map(lambda name: f"{name}.csv")
    return visible.filter(lambda name: len(os.fsencode(name)) <= LONGEST_NAME)


def test_each_file_of_a_directory_is_listed_once(explore: Explore, tmp_path: Path) -> None:
    def check(names: set[str]) -> None:
        with _directory(tmp_path, names) as folder:
            listing = Listing()
            found = listing.add([folder], why_not_read)
            assert len(found) == len(set(found)) == len(names)
            bodies = set()
            for url in found:
                url.encode()
                assert ending_of(url) == ".csv"
                with open_input(url) as file:
                    bodies.add(file.read())
            assert bodies == {os.fsencode(name) for name in names}
            again = Listing()
            assert [one for url in found for one in again.add([url], why_not_read)] == found

    explore(
        check,
        [{"names": {"?a=.csv", "a.csv"}}, {"names": {"a?a=.csv"}}],
        names=st.sets(file_names(), min_size=1, max_size=4),
    )


@contextlib.contextmanager
def _directory(place: Path, names: set[str]) -> Iterator[str]:
    """A directory of files, each holding its own name; removed whatever the example does."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for name in names:
            Path(folder, name).write_bytes(os.fsencode(name))
        yield folder


@pytest.mark.slow
def test_any_location_is_split_or_refused(explore: Explore) -> None:
    def check(scheme: str, parts: list[str]) -> None:
        url = scheme + "".join(parts)
        try:
            refuse_credentials(url)
            split_url(url)
            full = full_url(url)
        except UserError:
            return
        full.encode()
        assert full_url(full) == full

    parts = st.lists(st.sampled_from(PATHS) | st.text(max_size=5), max_size=6)
    explore(check, scheme=st.sampled_from(SCHEMES), parts=parts)


def test_a_template_is_refused_or_plain(explore: Explore) -> None:
    def check(template: str) -> None:
        try:
            names = names_of(template)
        except UserError:
            return
        with contextlib.suppress(UnsafeValue):
            filled(template, dict.fromkeys(names, "https://h/x"))

    pieces = (
        "{key}",
        "{",
        "}",
        "{{",
        "}}",
        "{key!r}",
        "{key:9}",
        "{0}",
        "{}",
        "{a.b}",
        "{a[0]}",
        "/",
    )
    explore(check, template=st.lists(st.sampled_from((*pieces, "x", "\x00"))).map("".join))


def test_no_value_leads_out_of_a_template(explore: Explore) -> None:
    def check(template: str, one: str, two: str) -> None:
        try:
            found = filled(template, {"a": one, "b": two})
        except UnsafeValue:
            return
        if template.startswith("{"):
            assert found.startswith(("http://", "https://"))
        else:
            begins = template.partition("{")[0].rpartition("/")[0]
            root, place = (
                posixpath.normpath(text.replace("s3://", "/")) for text in (begins, f"{found}/x")
            )
            assert place.startswith(f"{root}/")
            assert not set(found) & set("\x00\n")

    value = st.lists(st.sampled_from(VALUES), max_size=3).map("".join)
    templates = (
        "/data/{a}.jpg",
        "/data/{a}{b}.jpg",
        "/data/{a}/{b}",
        "s3://bucket/p/{a}{b}",
        "{a}",
    )
    explore(check, template=st.sampled_from(templates), one=value, two=value)
