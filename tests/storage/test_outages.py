"""What happens while a store is gone, throttles or refuses; against real server processes."""

import errno
import http.server
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from scanner.storage import Listing, Store, is_transient, open_input, split_url
from scanner.storage.retrying_s3 import RetryingS3
from tests import servers
from tests.servers import Server
from tests.storage.answers import Answers

OUTAGE_SECONDS = 3.0
# Less than the patience that there must not be, far more than the answer takes.
AT_ONCE_SECONDS = 60


def point_to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user does, but botocore tries once: the patience is our own."""
    servers.point_to(port, monkeypatch, AWS_MAX_ATTEMPTS="1")


def retry(monkeypatch: pytest.MonkeyPatch, **options: float) -> None:
    """Set options of RetryingS3 for filesystems that are opened from now on."""
    conf = fsspec.config.conf
    monkeypatch.setitem(conf, "s3", {**conf.get("s3", {}), **options})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = servers.bucket_server(tmp_path / "s3")
    point_to(server.port, monkeypatch)
    yield server
    server.kill()


@pytest.mark.slow
def test_every_operation_waits_for_a_killed_server_to_come_back(
    server: Server, tmp_path: Path
) -> None:
    store = Store("s3://bucket/run")
    (tmp_path / "part").write_bytes(b"part")
    store.write("old", b"abc" * 1000)
    store.write("gone", b"")
    opened = store.open("old")
    late: dict[str, object] = {}
    calls = {
        "exists": lambda: store.exists("old"),
        "files": lambda: store.files(""),
        "names": lambda: store.names("nothing"),
        "read": lambda: store.read("old"),
        "read of an opened file": lambda: opened.read(),
        "open": lambda: store.open("old").read(3),
        "write": lambda: store.write("new", b"1"),
        "create": lambda: store.create("commits/0.json", b"1"),
        "remove": lambda: store.remove("gone"),
        "upload": lambda: store.upload(tmp_path / "part", "part"),
        "open_input": lambda: open_input("s3://bucket/run/old").read(3),
        "listing": lambda: Listing().add(["s3://bucket/run/ol*"], lambda *_: ""),
    }

    def call(name: str) -> None:
        late[name] = calls[name]()

    threads = [threading.Thread(target=call, args=(name,), daemon=True) for name in calls]
    server.kill()
    for thread in threads:
        thread.start()
    time.sleep(OUTAGE_SECONDS)
    assert not late
    server.start()
    for thread in threads:
        thread.join(180)
    assert set(late) == set(calls)
    assert late["exists"] is True
    assert late["names"] == []
    assert late["read"] == late["read of an opened file"] == b"abc" * 1000
    assert late["open"] == late["open_input"] == b"abc"
    assert late["create"] is True
    assert late["listing"] == ["s3://bucket/run/old"]
    sizes = {name: file.size for name, file in store.files("").items()}
    assert sizes == {"new": 1, "old": 3000, "part": 4}


@pytest.mark.slow
def test_retries_end_with_the_original_error_marked_as_outage(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry(monkeypatch, retry_seconds=1.0)
    store = Store("s3://bucket/run")
    store.write("x", b"1")
    server.kill()
    start = time.monotonic()
    with pytest.raises(EndpointConnectionError) as caught:
        store.read("x")
    assert time.monotonic() - start < AT_ONCE_SECONDS
    assert is_transient(pickle.loads(pickle.dumps(caught.value)))


@pytest.mark.slow
def test_an_endpoint_that_never_answered_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point_to(9, monkeypatch)
    start = time.monotonic()
    with pytest.raises(EndpointConnectionError):
        Store("s3://bucket/run").exists("x")
    assert time.monotonic() - start < AT_ONCE_SECONDS


@pytest.mark.slow
def test_permanent_errors_come_at_once(server: Server) -> None:
    store = Store("s3://bucket/run")
    store.write("x", b"1")
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as missing:
        store.read("nothing")
    with pytest.raises(FileNotFoundError) as bucket:
        Store("s3://no-such-bucket/run").write("x", b"1")
    assert time.monotonic() - start < AT_ONCE_SECONDS
    assert not is_transient(missing.value)
    assert not is_transient(bucket.value)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.bad, server.requests = [], 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_to(server.server_port, monkeypatch)
    retry(monkeypatch, first_wait_seconds=0.01)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "bad",
    [(503, "SlowDown"), (429, "TooManyRequests"), (500, "InternalError"), (502, ""), "reset",
     "cut"],
    ids=str,
)  # fmt: skip
def test_throttling_and_broken_answers_are_tried_again(
    bad: object, answers: http.server.ThreadingHTTPServer
) -> None:
    store = Store("s3://bucket/run")
    assert store.read("x") == b"hello"
    with store.open("x") as file:
        answers.bad = [bad] * 4  # type: ignore[attr-defined]
        assert file.read() == b"hello"
    answers.bad = [bad] * 4  # type: ignore[attr-defined]
    assert store.read("x") == b"hello"
    if bad != "cut":
        answers.bad = [bad] * 4  # type: ignore[attr-defined]
        store.write("x", b"hello")
    assert answers.bad == []  # type: ignore[attr-defined]


@pytest.mark.slow
def test_throttling_at_first_contact_is_waited_out(
    answers: http.server.ThreadingHTTPServer,
) -> None:
    answers.bad = [(503, "SlowDown")] * 6  # type: ignore[attr-defined]
    assert Store("s3://bucket/run").read("x") == b"hello"


@pytest.mark.slow
@pytest.mark.parametrize("status", [(502, ""), (504, ""), (429, ""), (503, "SlowDown")], ids=str)
def test_a_lasting_outage_is_known_after_pickling(
    status: tuple[int, str],
    answers: http.server.ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retry(monkeypatch, retry_seconds=0.05)
    answers.bad = [status] * 50  # type: ignore[attr-defined]
    with pytest.raises(OSError) as caught:  # noqa: PT011
        Store("s3://bucket/run").read("x")
    assert is_transient(pickle.loads(pickle.dumps(caught.value)))


@pytest.mark.slow
@pytest.mark.parametrize("status", [(403, "InvalidAccessKeyId"), (412, "PreconditionFailed")])
def test_a_refusal_is_asked_for_once(
    status: tuple[int, str], answers: http.server.ThreadingHTTPServer
) -> None:
    answers.bad = [status] * 9  # type: ignore[attr-defined]
    with pytest.raises(OSError) as caught:  # noqa: PT011
        Store("s3://bucket/run").write("x", b"1")
    assert answers.requests == 1  # type: ignore[attr-defined]
    assert not is_transient(caught.value)
    assert "a-secret-key" not in str(caught.value)


@pytest.mark.slow
def test_a_dropped_connection_can_be_pickled_without_its_request(
    answers: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    retry(monkeypatch, retry_seconds=0.05)
    store = Store("s3://bucket/run")
    store.read("x")
    answers.bad = ["reset"] * 50  # type: ignore[attr-defined]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        store.write("x", b"1")
    stored = pickle.dumps(caught.value)
    assert b"a-session-token" not in stored
    assert is_transient(pickle.loads(stored))


def test_causes_are_looked_through_and_lasting_errors_are_none() -> None:
    slow = ClientError(
        {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "GetObject"
    )
    bad_slice = ValueError("in a slice")
    bad_slice.__cause__ = slow
    assert is_transient(bad_slice)
    assert is_transient(OSError(errno.EBUSY, "reduce your request rate"))
    assert is_transient(ConnectionResetError())
    for error in (
        ValueError("damaged"),
        FileNotFoundError("x"),
        PermissionError("x"),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EIO, "Input/output error"),
    ):
        assert not is_transient(error)


def test_an_outage_reaches_the_caller_of_ray_as_one() -> None:
    from ray.exceptions import RayTaskError

    error = RayTaskError("work", "traceback", EndpointConnectionError(endpoint_url="http://x"))
    assert is_transient(error)
    assert is_transient(error.as_instanceof_cause())
    assert not is_transient(RayTaskError("work", "traceback", ValueError("damaged")))


@pytest.mark.slow
def test_a_folder_that_cannot_be_listed_is_an_error(
    answers: http.server.ThreadingHTTPServer,
) -> None:
    answers.bad = [(403, "AccessDenied")] * 9  # type: ignore[attr-defined]
    with pytest.raises(PermissionError):
        Listing().add(["s3://bucket/data/*.csv"], lambda *_: "")


@pytest.mark.slow
def test_a_failed_multipart_upload_is_aborted(server: Server, tmp_path: Path) -> None:
    fs, _ = split_url("s3://bucket/run")
    assert isinstance(fs, RetryingS3)
    big, part = os.urandom(11 << 20), 5 << 20
    fs.pipe_file("bucket/run/x", big, chunksize=part)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        fs.pipe_file("bucket/run/x", big, chunksize=part, mode="create")
    assert not is_transient(caught.value)
    left = [path for path in (tmp_path / "s3").rglob("*") if path.is_file() and path.stat().st_size]
    assert [path.stat().st_size for path in left] == [len(big)]
