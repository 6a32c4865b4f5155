"""A small run under review, and requests to its server's application without a network."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from scanner.query import open_run
from scanner.review import Site, make_site, open_index
from scanner.review.access import AccessGuard
from scanner.review.app import make_app
from scanner.storage import Roots
from tests.query.runs import make_run, trigger
from tests.waiting import run_in_thread

TOKEN, HOST = "t" * 32, "127.0.0.1:8765"
ORIGIN = f"http://{HOST}"
HOSTILE = (
    "<script>window.ran=1</script> <img src=x onerror=window.ran=2> \u202eright to left\u202c "
    "</title></script><svg onload=window.ran=3> {{ 7*7 }} '); DROP TABLE scores; --"
)


def caption(number: int) -> str:
    """Captions of one pattern, near-duplicates of the next few, and other ones."""
    if number % 3 == 0:
        return f"poster of a red fox number {number} by artist"
    return f"plain words {number} cat{number % 7} dog{number % 5}"


def small_run(folder: Path, captions: int = 60) -> str:
    rows = [
        {
            "caption_id": f"{number:04}",
            "caption": HOSTILE if number == 5 else caption(number),
            "n_samples": 1 + number % 4,
            "noise_norm_first": 10.0 - number / 10,
            "entropy_e": 1.0,
            "bos_mass": 0.5,
            "source": f"part-{number % 2}.csv",
            "triggers": [trigger(caption(number), caption(number).split()[0])],
        }
        for number in range(captions)
    ]
    return make_run(folder / "run", rows, fingerprint={"seeds": 1})


def small_site(folder: Path, read_only: bool = False, run: str | None = None) -> Site:
    tables = open_run(run or small_run(folder))
    index = open_index(tables, str(folder / "index"))
    return make_site(tables, index, None, Roots.of([], []), f"/{TOKEN}", "ann", read_only)


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    site: Site,
    path: str,
    body: Any = None,
    method: str | None = None,
    base: str = f"/{TOKEN}",
    **headers: str | None,
) -> Answer:
    """The server's answer; ``headers`` replace those of its own pages, None leaves one out."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: dict[str, str | None] = {"host": HOST}
    if body is not None:
        sent |= {"origin": ORIGIN, "content-type": "application/json"}
        sent |= {"content-length": str(len(data))}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    place, _, query = f"{base}{path}".partition("?")
    scope = {
        "type": "http",
        "method": method or ("GET" if body is None else "POST"),
        "path": unquote(place),
        "raw_path": place.encode(),
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in sent.items() if v is not None],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8765),
    }
    answer = Answer()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            pairs = message["headers"]
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in pairs}
        answer.body += message.get("body", b"")

    guard = AccessGuard(make_app(site), TOKEN, frozenset({HOST, "localhost:8765"}))
    run_in_thread(guard(scope, receive, send))
    return answer


def decide(site: Site, reviewer: str, ids: list[str], query: str = "", **stated: Any) -> Answer:
    body = {"reviewer": reviewer, "captions": ids, "stated": stated, "query": query}
    return ask(site, "/decide", body)
