"""Outages of Google's and Azure's stores are waited out; a store without conditions is refused."""

import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from scanner.errors import UserError
from scanner.storage import Listing, Store, StoreOutage, is_transient, open_input
from scanner.storage.transient.retry_after import seconds_of
from tests.cloud_servers import (
    KEY,
    azure_server,
    gcs_server,
    make_container,
    point_to_azure,
    point_to_gcs,
)
from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.servers import Server, bucket_server, free_port, point_to
from tests.waiting import wait_until

SCHEMES = {"s3": "s3", "gcs": "gs", "azure": "abfs"}
# Less than the patience that there must not be, far more than the answer takes.
AT_ONCE_SECONDS = 60
BROKEN = ["reset", "cut"]
THROTTLED = [(status, {}) for status in (429, 500, 502, 503, 504)]


def _start(kind: str, folder: Path) -> Server:
    return {"s3": bucket_server, "gcs": gcs_server, "azure": azure_server}[kind](folder)


def _point(kind: str, port: int, environ: pytest.MonkeyPatch) -> None:
    if kind == "s3":
        point_to(port, environ, AWS_MAX_ATTEMPTS="1")
    else:
        {"gcs": point_to_gcs, "azure": point_to_azure}[kind](port, environ)


@pytest.fixture(scope="module", params=["gcs", "azure", "s3"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Server]]:
    """The kind of a store, and its server."""
    server = _start(request.param, tmp_path_factory.mktemp(request.param) / "server")
    if request.param == "azure":
        with pytest.MonkeyPatch.context() as environ:
            point_to_azure(server.port, environ)
            make_container("bucket")
    yield request.param, server
    server.kill()


@pytest.fixture
def proxy(
    server: tuple[str, Server], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, FaultyProxy]]:
    """A URL in a store, and the proxy before its server."""
    kind, running = server
    with faulty_proxy(running.port) as proxy:
        _point(kind, proxy.server_port, monkeypatch)
        _retry(kind, monkeypatch, first_wait_seconds=0.01)
        yield f"{SCHEMES[kind]}://bucket/{time.monotonic_ns()}", proxy


def _retry(kind: str, monkeypatch: pytest.MonkeyPatch, **options: float) -> None:
    conf = fsspec.config.conf
    monkeypatch.setitem(conf, SCHEMES[kind], {**conf.get(SCHEMES[kind], {}), **options})


@pytest.mark.parametrize("server", ["gcs", "azure"], indirect=True)  # S3: test_outages.py
@pytest.mark.parametrize("bad", [THROTTLED[0], THROTTLED[3], *BROKEN], ids=str)
def test_bad_answers_are_asked_for_again(
    bad: tuple[int, dict[str, str]] | str, proxy: tuple[str, FaultyProxy], tmp_path: Path
) -> None:
    url, faults = proxy
    store = Store(url)
    store.write("old", b"abc" * 100)
    (tmp_path / "part").write_bytes(b"part")
    file = store.open("old")
    calls = {
        "exists": lambda: store.exists("old"),
        "names": lambda: store.names(""),
        "read": lambda: store.read("old") == b"abc" * 100,
        "a range": lambda: store.read_range("old", 3, 6) == b"abc",
        "an open file": lambda: file.read() == b"abc" * 100,
        "write": lambda: store.write("new", b"1"),
        "create": lambda: store.create("commit", b"1"),
        "upload": lambda: store.upload(tmp_path / "part", "part") or store.read("part") == b"part",
        "input": lambda: open_input(f"{url}/old").read(3) == b"abc",
        "listing": lambda: Listing().add([f"{url}/ol*"], lambda *_: "") == [f"{url}/old"],
        "remove": lambda: store.remove("new") or not store.exists("new"),
    }
    for name, call in calls.items():
        faults.bad = [bad] * 3
        assert call(), name
        assert faults.bad == [] or bad == "cut", name  # an answer without a body cannot be cut


def test_a_store_that_says_how_long_is_obeyed(proxy: tuple[str, FaultyProxy]) -> None:
    url, faults = proxy
    store = Store(url)
    store.write("x", b"1")
    faults.bad = [(503, {"Retry-After": "1"})]
    start = time.monotonic()
    assert store.read("x") == b"1"
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        *(("2", 2, 2), ("0.5", 0.5, 0.5), ("86400", 60, 60), ("inf", 60, 60), ("-1", 0, 0)),
        *(("nan", 0, 0), ("soon", 0, 0), ("", 0, 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0)),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 60, 60),
    ],
)
def test_a_wait_that_a_store_asks_for_is_bounded(value: str, least: float, most: float) -> None:
    assert least <= seconds_of(value) <= most


def test_an_outage_that_lasts_is_known_after_pickling(
    proxy: tuple[str, FaultyProxy], server: tuple[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, faults = proxy
    _retry(server[0], monkeypatch, retry_seconds=0.1)
    store = Store(url)
    store.write("x", b"1")
    for bad in (*THROTTLED, "reset"):
        faults.bad = [bad] * 99
        with pytest.raises(Exception) as caught:  # noqa: PT011
            store.read("x")
        stored = pickle.dumps(caught.value)
        assert is_transient(pickle.loads(stored)), bad
        assert KEY.encode() not in stored
        assert b"Authorization" not in stored


def test_refused_access_is_asked_for_once(proxy: tuple[str, FaultyProxy]) -> None:
    url, faults = proxy
    store = Store(url)
    store.write("x", b"1")
    faults.bad, faults.requests = [(403, {})] * 9, 0
    with pytest.raises(PermissionError) as caught:
        store.write("x", b"1")
    assert faults.requests == 1
    assert not is_transient(pickle.loads(pickle.dumps(caught.value)))


def test_what_is_missing_is_said_at_once(proxy: tuple[str, FaultyProxy]) -> None:
    url, _ = proxy
    store = Store(url)
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    elsewhere = f"{url.partition(':')[0]}://no-such-bucket"
    with pytest.raises(FileNotFoundError):
        Store(f"{elsewhere}/run").write("x", b"1")
    with pytest.raises(UserError, match="no-such-bucket does not exist"):
        Listing().add([f"{elsewhere}/x.csv"], lambda *_: "")


def test_a_store_that_ignores_conditions_is_refused(proxy: tuple[str, FaultyProxy]) -> None:
    url, faults = proxy
    assert Store(url).preflight() == 16
    faults.is_careless = True
    with pytest.raises(UserError, match="ignores conditional writes"):
        Store(url).preflight()
    assert Store(url, single_writer=True).preflight() == 1


@pytest.mark.parametrize("server", ["gcs"], indirect=True)
def test_a_large_file_is_created_by_one_request_too(proxy: tuple[str, FaultyProxy]) -> None:
    url, faults = proxy
    store = Store(url)
    large = bytes(51 << 20)  # gcsfs would upload it in parts
    faults.requests = 0
    assert store.create("plan", large)
    assert faults.requests == 1
    assert not store.create("plan", large + b"1")


@pytest.mark.parametrize("kind", ["gcs", "azure"])
def test_a_server_that_never_answered_is_not_waited_for(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"gcs": "gcsfs", "azure": "adlfs"}[kind])
    _point(kind, free_port(), monkeypatch)
    start = time.monotonic()
    with pytest.raises(Exception) as caught:  # noqa: PT011
        Store(f"{SCHEMES[kind]}://bucket/run").write("x", b"1")
    assert time.monotonic() - start < AT_ONCE_SECONDS
    assert is_transient(pickle.loads(pickle.dumps(caught.value)))
    if kind == "azure":
        assert isinstance(caught.value, StoreOutage)


def test_a_killed_server_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = gcs_server(tmp_path / "gcs")
    point_to_gcs(server.port, monkeypatch)
    store = Store("gs://bucket/run")
    store.write("x", b"1")
    late: list[bytes] = []
    reader = threading.Thread(target=lambda: late.append(store.read("x")), daemon=True)
    server.kill()
    reader.start()
    reader.join(1)
    assert not late
    server.start()
    wait_until(lambda: late, "the read does not return")
    assert late == [b"1"]
    server.kill()
