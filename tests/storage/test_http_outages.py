"""What happens while a web server of input files throttles, fails or drops connections."""

import http.server
import pickle
import threading
from collections.abc import Iterator

import pytest

from scanner.captions.formats import inspect, read
from scanner.storage import StoreOutage, is_transient
from tests.storage.answers import Answers

BAD = [(503, ""), (429, ""), "reset"]


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.bad, server.requests = [], 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_an_input_is_inspected_after_an_outage(
    bad: object, server: http.server.ThreadingHTTPServer
) -> None:
    url = f"http://127.0.0.1:{server.server_port}/a.csv"
    server.bad = [bad] * 5  # type: ignore[attr-defined]
    assert inspect(url).columns == ["hello"]
    assert server.bad == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_lasting_outage_does_not_reject_the_input(
    bad: object, server: http.server.ThreadingHTTPServer
) -> None:
    url = f"http://127.0.0.1:{server.server_port}/a.csv"
    server.bad = [bad] * 10_000  # type: ignore[attr-defined]
    for call in (lambda: list(read(url, ["hello"])), lambda: inspect(url, retry_seconds=0.1)):
        with pytest.raises(StoreOutage) as caught:
            call()
        assert is_transient(pickle.loads(pickle.dumps(caught.value)))
