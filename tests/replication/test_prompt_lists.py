"""Prompt lists are fetched from a server, refused by hash, and read."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.replication.kits import PromptList, kits
from scanner.replication.prompt_lists import LARGEST_BYTES, Prompt, fetch_list, read_prompts
from scanner.storage import Store, StoreOutage

TEXT = (
    b";Caption;URL;type;mean_sscd;max_sscd;Index\n"
    b"0;The Happy Scientist;https://x.example/1.jpg;VM;0.83;0.86;1\n"
    b'1;"A ""quoted"", caption; with both";https://x.example/2.jpg;TM;-0.02;-0.01;2\n'
    b"2;;https://x.example/3.jpg;VM;;;3\n"
    b"3;No similarity;https://x.example/4.jpg;TM;;;4\n"
)
NEMO = replace(kits()["sd14"].lists[0], sha256=hashlib.sha256(TEXT).hexdigest())
LINES = PromptList("lines.txt", "a test", "", memorized=False, rows=2)


class _Server(http.server.ThreadingHTTPServer):
    """Answers every request with ``body``, of which ``sent`` bytes arrive (None: all)."""

    body, sent = TEXT, None
    requests = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.server.body[: self.server.sent])

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "out"))


def _fetch(listed: PromptList, store: Store, server: _Server) -> bytes:
    return fetch_list(listed, store, f"http://127.0.0.1:{server.server_port}/", retry_seconds=0)


def test_a_list_is_fetched_once_and_kept(server: _Server, store: Store) -> None:
    assert _fetch(NEMO, store, server) == TEXT
    requests = server.requests
    assert _fetch(NEMO, store, server) == TEXT
    assert requests == server.requests > 0
    assert store.read(f"lists/{NEMO.name}") == TEXT


def test_a_list_at_its_own_address_needs_no_mirror(server: _Server, store: Store) -> None:
    url = f"http://127.0.0.1:{server.server_port}/prompts.csv"
    assert fetch_list(replace(NEMO, url=url), store) == TEXT


def test_a_changed_list_is_refused_by_hash(server: _Server, store: Store) -> None:
    server.body = TEXT.replace(b"Happy", b"Sorry")
    with pytest.raises(UserError, match=r"SHA-256 [0-9a-f]{64} of \d+ bytes, expected") as caught:
        _fetch(NEMO, store, server)
    assert str(NEMO.sha256) in str(caught.value)
    assert store.names("lists") == []
    server.body = TEXT  # repaired, with the same size
    assert _fetch(NEMO, store, server) == TEXT


def test_a_list_cut_off_in_transfer_is_not_used(server: _Server, store: Store) -> None:
    server.sent = 100
    with pytest.raises(StoreOutage, match="unavailable"):
        _fetch(NEMO, store, server)
    assert store.names("lists") == []


def test_a_shortened_list_is_refused_by_hash(server: _Server, store: Store) -> None:
    server.body = TEXT[:100]
    with pytest.raises(UserError, match=r"of 100 bytes.*damaged, incomplete"):
        _fetch(NEMO, store, server)


def test_the_first_hash_is_recorded_and_checked(server: _Server, store: Store) -> None:
    server.body = b"A white bowl\n\nA red clock\n"
    _fetch(LINES, store, server)
    Path(store.location("lists/lines.txt")).unlink()
    server.body += b"A third\n"
    with pytest.raises(UserError, match="changed since it was first fetched"):
        _fetch(LINES, store, server)


def test_a_kept_list_that_was_edited_is_refused(server: _Server, store: Store) -> None:
    _fetch(NEMO, store, server)
    store.write(f"lists/{NEMO.name}", TEXT + b"5;More;;VM;;;\n")
    with pytest.raises(UserError, match=r"expected.*remove .*lists.*to fetch it again"):
        _fetch(NEMO, store, server)


def test_a_file_too_long_for_a_list_is_refused(server: _Server, store: Store) -> None:
    server.body = b"x" * (LARGEST_BYTES + 1)
    with pytest.raises(UserError, match="which no prompt list has"):
        _fetch(LINES, store, server)


def test_classes_and_similarities_are_read() -> None:
    prompts, without = read_prompts(NEMO, TEXT)
    assert prompts == [
        Prompt("The Happy Scientist", True, "verbatim", 0.86),
        Prompt('A "quoted", caption; with both', True, "template", 0.0),
        Prompt("No similarity", True, "template", None),
    ]
    assert without == 1


def test_a_line_is_a_prompt_without_columns() -> None:
    prompts, without = read_prompts(LINES, "A white bowl\n\n A café \n".encode())
    assert prompts == [Prompt("A white bowl", False, "none"), Prompt("A café", False, "none")]
    assert without == 0


@pytest.mark.parametrize(
    ("listed", "data", "message"),
    [
        (NEMO, b"caption;url\na;b\n", "no column Caption, found caption, url"),
        (NEMO, b"", "no column Caption"),
        (LINES, b"\xff\xfe", "not UTF-8"),
        (LINES, b"\n\n", "no prompts in it"),
    ],
)
def test_another_file_is_refused(listed: PromptList, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_prompts(listed, data)


def test_every_kit_names_its_lists_at_a_commit() -> None:
    for kit in kits().values():
        assert bool(kit.lists) != kit.is_packaged
        assert {one.memorized for one in kit.lists} in (set(), {True, False})
        for one in kit.lists:
            assert one.url.endswith(f"/{one.name}")
            assert any(len(part) == 40 for part in one.url.split("/")), "a commit, not a branch"
