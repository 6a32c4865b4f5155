"""What Google Cloud Storage's refusals become, by the reason that it gives."""

import json

import pytest

from scanner.storage import is_transient

gcs = pytest.importorskip("scanner.storage.retrying_gcs")


def _body(message: str, *reasons: str) -> bytes:
    errors = [{"reason": reason} for reason in reasons]
    return json.dumps({"error": {"message": message, "errors": errors}}).encode()


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded"])
def test_throttling_by_status_403_is_transient(reason: str) -> None:
    assert is_transient(gcs._refusal(403, _body("slow down", reason), "gs://b/x"))
    assert not is_transient(gcs._refusal(403, _body("no", "forbidden"), "gs://b/x"))


def test_a_bucket_whose_requester_pays_names_the_setting() -> None:
    message = "Bucket is a requester pays bucket but no user project provided."
    error = gcs._refusal(400, _body(message, "required"), "gs://b/x")
    assert isinstance(error, PermissionError)
    assert "FSSPEC_GS_REQUESTER_PAYS" in str(error)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"error": "x"}', b'{"error": {"errors": [1]}}', b"\xff"]
)
def test_any_body_of_an_error_is_taken(body: bytes) -> None:
    assert isinstance(gcs._refusal(403, body, "gs://b/x"), PermissionError)
    assert isinstance(gcs._refusal(404, body, "gs://b/x"), FileNotFoundError)
    assert is_transient(gcs._refusal(503, body, "gs://b/x"))


@pytest.mark.parametrize(
    ("path", "names", "location"),
    [
        ("b/{}/o/{}", ("bucket", "a/b c"), "gs://bucket/a/b c"),
        ("http://h/download/storage/v1/b/bucket/o/a%2Fb%20c?alt=media", (), "gs://bucket/a/b c"),
        ("http://h/upload/storage/v1/b/bucket/o?name=a%2Fb%20c", (), "gs://bucket/a/b c"),
        ("http://h/upload/storage/v1/b/bucket/o", (), "gs://bucket"),
        ("b", (), "gs://"),
    ],
)
def test_errors_name_the_object(path: str, names: tuple[str, ...], location: str) -> None:
    assert gcs._location(path, names) == location
