"""Settings of S3 that users make in the environment: who pays, and where the bucket's name goes."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.config import set_conf_env

from scanner.storage import Store
from scanner.storage.retrying_s3 import make_session
from tests.servers import point_to
from tests.storage.answers import Answers


class Recorded(Answers):
    """Answers well, and keeps each request's method, URL and payer."""

    def recorded(self) -> None:
        payer = self.headers.get("x-amz-request-payer")
        self.server.seen.append((self.command, self.path, payer))  # type: ignore[attr-defined]
        if self.command != "DELETE":
            self.answer()
            return
        self.send_response(204)
        self.end_headers()

    do_GET = do_PUT = do_HEAD = do_DELETE = recorded


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, str | None]]]:
    """The requests to a store that is reached by the name store.example."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorded)
    server.bad, server.requests, server.seen = [], 0, []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_to(server.server_port, monkeypatch, AWS_ENDPOINT_URL="http://store.example")
    # As a proxy, it is sent the whole URL.
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    yield server.seen  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def _use(store: Store) -> None:
    store.write("x", b"hello")
    store.create("y", b"hello")
    assert store.read("x") == b"hello"
    with store.open("x") as file:
        assert file.read() == b"hello"
    store.remove("x")


@pytest.mark.slow
def test_every_request_says_that_the_requester_pays(
    seen: list[tuple[str, str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {})
    set_conf_env(fsspec.config.conf, {"FSSPEC_S3_REQUESTER_PAYS": "true"})
    _use(Store("s3://bucket/run"))
    assert {method for method, _, _ in seen} == {"PUT", "GET", "HEAD", "DELETE"}
    assert {payer for _, _, payer in seen} == {"requester"}


@pytest.mark.slow
def test_an_own_endpoint_finds_the_bucket_in_the_path(
    seen: list[tuple[str, str, str | None]],
) -> None:
    _use(Store("s3://bucket/a b"))
    assert all(url.startswith("http://store.example/bucket/a%20b/") for _, url, _ in seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "start"),
    [("path", "http://store.example/bucket/run/"), ("virtual", "http://bucket.store.example/run/")],
)
def test_the_bucket_goes_where_the_settings_of_aws_say(
    style: str,
    start: str,
    seen: list[tuple[str, str, str | None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config").write_text(f"[default]\ns3 =\n    addressing_style = {style}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    Store("s3://bucket/run").write("x", b"hello")
    assert [url for _, url, _ in seen] == [f"{start}x"]


def test_sessions_share_descriptions_by_their_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = (make_session().get_component("data_loader") for _ in range(2))
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    other = make_session().get_component("data_loader")
    assert first is second is not other
    assert str(tmp_path) in other.search_paths
