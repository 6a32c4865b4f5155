"""Requests to stores and waits for them are counted, for metrics."""

import http.server
import threading
from collections.abc import Iterator

import fsspec
import pytest

from scanner.storage import Store, StoreOutage, mark_transient, retry_outages
from scanner.storage.counts import StoreCounts, take_counts
from tests.servers import point_to
from tests.storage.answers import Answers


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.bad, server.requests = [], 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_to(server.server_port, monkeypatch, AWS_MAX_ATTEMPTS="1")
    options = {**fsspec.config.conf.get("s3", {}), "first_wait_seconds": 0.01}
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_requests_and_waits_of_s3_are_counted(answers: http.server.ThreadingHTTPServer) -> None:
    store = Store("s3://bucket/run")
    store.write("x", b"hello")
    take_counts()
    answers.requests = 0  # type: ignore[attr-defined]
    answers.bad = [(503, "SlowDown")] * 3  # type: ignore[attr-defined]
    assert store.read("x") == b"hello"
    counts = take_counts()
    assert counts.requests.total() == answers.requests >= 4  # type: ignore[attr-defined]
    assert counts.requests["get_object"]
    assert counts.wait_seconds > 0.01
    assert take_counts() == StoreCounts(), "they are taken once"


def test_waits_for_a_hub_are_counted() -> None:
    failures = [ConnectionResetError("reset")] * 2

    def call() -> str:
        if failures:
            raise failures.pop()
        return "an answer"

    take_counts()
    assert retry_outages(call, first_wait=0.01)() == "an answer"
    assert take_counts().wait_seconds > 0.01


def test_what_is_not_waited_for_is_not_counted() -> None:
    outage = StoreOutage("waited for already")
    mark_transient(outage)

    def call() -> None:
        raise outage

    take_counts()
    with pytest.raises(StoreOutage):
        retry_outages(call)()
    assert take_counts() == StoreCounts()
