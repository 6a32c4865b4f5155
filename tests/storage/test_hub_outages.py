"""What happens while the hub is down, throttles or drops connections that read ``hf://`` files."""

import pickle
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from ray.exceptions import RayTaskError

from scanner.captions.formats import inspect, read
from scanner.cluster import Execution, InProcess, Item, Outcome, RetryLimits, Work, execute
from scanner.errors import UserError
from scanner.run import Commits
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.inputs import Inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.running import ONE_CORE
from scanner.storage import Listing, Store, is_transient, retry_outages
from scanner.storage.error_messages import storage_error_message
from tests.hub import REVISION, Hub, serving

FILE = f"hf://datasets/someone/captions@{REVISION}/a.jsonl"
LASTING = 10_000  # answers, more than are requested during a test


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "hub/someone/captions"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text('{"caption": "a cat"}\n{"caption": "a dog"}\n')
    # Its client waits 23 seconds between the five retries of a request.
    without_waits = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
    monkeypatch.setattr("huggingface_hub.utils._http.time", without_waits)
    monkeypatch.setenv("HF_TOKEN", "hf_a_secret_token")
    with serving(tmp_path / "hub", tmp_path / "home", monkeypatch) as hub:
        yield hub


def _rows(url: str) -> int:
    return sum(len(batch.rows) for batch in read(url, ["caption"]))


BAD = [503, 429, 500, "drop"]


@pytest.mark.slow
@pytest.mark.parametrize("bad", BAD)
def test_inputs_on_the_hub_are_found_after_an_outage(hub: Hub, bad: int | str) -> None:
    hub.bad = [bad] * 3
    assert Listing().add(["hf://datasets/someone/captions"], lambda *_: "") == [FILE]
    hub.bad = [bad] * 8
    assert inspect(FILE).columns == ["caption"]
    assert hub.bad == []


@pytest.mark.parametrize("bad", BAD)
def test_an_outage_while_reading_does_not_reject_the_file(hub: Hub, bad: int | str) -> None:
    assert _rows(FILE) == 2
    hub.bad, hub.failing = [bad] * LASTING, "a.jsonl"
    for call in (lambda: _rows(FILE), lambda: inspect(FILE, retry_seconds=0.1)):
        with pytest.raises(OSError, match="the server is unavailable") as caught:
            call()
        stored = pickle.dumps(caught.value)
        assert b"hf_a_secret_token" not in stored
        assert is_transient(pickle.loads(stored))
        assert is_transient(RayTaskError("work", "traceback", pickle.loads(stored)))
        assert "rerun the same command later" in str(storage_error_message(caught.value))


def test_a_missing_file_or_a_refusal_is_not_an_outage(hub: Hub) -> None:
    with pytest.raises(UserError, match="no such file"):
        Listing().add(["hf://datasets/someone/captions/b.jsonl"], lambda *_: "")
    hub.bad, hub.failing = [403] * LASTING, "a.jsonl"
    start = time.monotonic()
    with pytest.raises(UserError, match="403"):
        inspect(FILE)
    assert time.monotonic() - start < 60


class _Planner:
    """Runs planning in this process, with little patience."""

    def __init__(self, outage_seconds: float) -> None:
        limits = RetryLimits(outage_seconds=outage_seconds, delays=(0.05,))
        self.execution = Execution(limits=limits)

    def __call__(self, commits: Commits, items: Sequence[Item], make_work: Work) -> Outcome:
        in_process = InProcess[Item](lambda _: True)
        return execute(
            commits, items, make_work, ONE_CORE, in_process=in_process, execution=self.execution
        )


def _plan(inputs: Inputs, store: Store, outage_seconds: float):  # type: ignore[no-untyped-def]
    planner = _Planner(outage_seconds)
    return make_plan(inputs, store, lambda: str.lower, lambda rows: 100, execute=planner)


@pytest.mark.slow
def test_planning_waits_for_the_hub_and_rejects_nothing(hub: Hub, tmp_path: Path) -> None:
    inputs = choose_inputs(SimpleNamespace(**_CONFIG))  # type: ignore[arg-type]
    hub.bad, hub.failing = [503] * 30, "a.jsonl"
    plan = _plan(inputs, Store(str(tmp_path / "run")), 60.0)
    assert hub.bad == []
    assert (plan.counts["samples"], plan.counts["rejected_files"]) == (2, 0)


@pytest.mark.slow
def test_planning_ends_with_a_lasting_outage_and_resumes(hub: Hub, tmp_path: Path) -> None:
    inputs = choose_inputs(SimpleNamespace(**_CONFIG))  # type: ignore[arg-type]
    store = Store(str(tmp_path / "run"))
    hub.bad, hub.failing = [503] * LASTING, "a.jsonl"
    with pytest.raises(UserError, match="rerun the same command once it answers"):
        _plan(inputs, store, 0.2)
    hub.bad = []
    plan = _plan(inputs, store, 0.2)
    assert (plan.counts["samples"], plan.counts["rejected_files"]) == (2, 0)


_CONFIG = {
    "captions": ("hf://datasets/someone/captions",),
    "reference": (),
    "captions_from": None,
    **dict.fromkeys(("caption_column", "key_column", "image_key", "keep")),
    "quoting": "auto",
}


def _response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub/x"))


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        HfHubHTTPError("busy", response=_response(503)),
        HfHubHTTPError("slow down", response=_response(429)),
        httpx2.ReadTimeout("the read timed out"),
        httpx2.ConnectTimeout("no answer"),
        httpx2.ReadError("connection reset"),
        httpx2.RemoteProtocolError("server disconnected"),
        httpx2.HTTPStatusError("busy", request=_response(502).request, response=_response(502)),
        _caused(LocalEntryNotFoundError("no snapshot"), httpx2.ConnectError("refused")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_hub_s_client_are_outages(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        HfHubHTTPError("no such repository", response=_response(404)),
        HfHubHTTPError("gated", response=_response(401)),
        LocalEntryNotFoundError("no snapshot"),
        _caused(LocalEntryNotFoundError("no snapshot"), OfflineModeIsEnabled("HF_HUB_OFFLINE=1")),
        _caused(
            httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"),
            ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED"),
        ),
        httpx2.InvalidURL("no host"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_lasting_errors_of_the_hub_are_not_outages(error: Exception) -> None:
    assert not is_transient(error)


def test_a_hub_that_never_answered_is_not_waited_for() -> None:
    calls = []

    def refused() -> None:
        calls.append(1)
        with socket.create_connection(("127.0.0.1", 9), 1):
            pass

    with pytest.raises(ConnectionRefusedError) as caught:
        retry_outages(refused)()
    assert len(calls) == 1
    assert is_transient(caught.value)
