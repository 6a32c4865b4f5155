"""URLs: no credentials in them, and none repeated."""

import pytest

from scanner.errors import UserError
from scanner.storage import Store, full_url

SECRET_URLS = [
    "s3://key:secret@bucket/x",
    "s3://key:a/secret@bucket/x",
    "S3://key:secret@bucket/x",
    "simplecache::https://user:secret@host/x",
    "https://secret@host/x",
    "https://host/x?X-Amz-Credential=secret&X-Amz-Date=1",
    "https://host/x?a=1&X-Amz-Signature=secret",
    "https://host/x?AWSAccessKeyId=secret",
    "https://host/x?Expires=1&Signature=secret",
    "https://host/x?X-Goog-Signature=secret",
    "https://account.blob.core.windows.net/x?sv=1&sig=secret",
    "https://host/x?token=secret",
    "https://host/x?access_token=secret",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="in a URL would end up") as caught:
        full_url(url)
    assert "secret" not in str(caught.value)


def test_an_endpoint_with_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://user:secret@host")
    with pytest.raises(UserError, match="AWS_ENDPOINT_URL") as caught:
        Store("s3://bucket/run")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("s3://bucket/x?versionId=1", "s3://bucket/x?versionId=1"),
        ("/a:b@c?token=1", "/a:b@c?token=1"),
    ],
)
def test_urls_without_credentials_are_taken(url: str, full: str) -> None:
    assert full_url(url) == full


def test_a_tilde_is_part_of_a_name_that_exists_or_is_no_home(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/h")
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "a.csv").touch()
    assert full_url("~/a.csv") == str(tmp_path / "~" / "a.csv")
    assert full_url("~/b.csv") == "/h/b.csv"
    assert full_url("~nobody-here.csv") == str(tmp_path / "~nobody-here.csv")


@pytest.mark.parametrize(
    "url", ["/a\ud800.csv", "file:///a\ud800.csv", "s3://bucket/a\udcff", "memory://a\udcff"]
)
def test_a_location_that_is_not_unicode_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"a\\ud.*must be valid Unicode") as caught:
        full_url(url)
    str(caught.value).encode()
