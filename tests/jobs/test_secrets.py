"""Canary secrets: none is in any file or message of a run, whether it succeeds or fails."""

import http.server
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.memscan import called, memscan
from tests.servers import point_to
from tests.whole_scans import SCAN

CANARY = "c4n4ry"
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}/secret+key",
    "AWS_SESSION_TOKEN": f"{CANARY}-session",
    "HF_TOKEN": f"hf_{CANARY}token",
    "MY_STORE_PASSWORD": f"{CANARY}-password",
}


class _Echo(http.server.BaseHTTPRequestHandler):
    """Has one file, which it redirects to a signed URL, and answers with what it was sent."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/bad.parquet"):
            self.send_response(200 if self.command == "HEAD" else 302)
            if self.command == "HEAD":
                self.send_header("Content-Length", "1000")
                self.send_header("Accept-Ranges", "bytes")
                self.end_headers()
                return
            self.send_header("Location", f"/signed/x.parquet?X-Amz-Signature={CANARY}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        said = f"{self.path} {self.headers} {' '.join(SECRETS.values())}".replace("<", "")
        body = f"<Error><Code>Forbidden</Code><Message>{said}</Message></Error>".encode()
        self.send_response(403, f"no access with {CANARY}-session")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_to(server.server_address[1], monkeypatch, AWS_MAX_ATTEMPTS="1", **SECRETS)
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def session() -> Iterator[Path]:
    """A folder for Ray's files, whose path has to be short."""
    folder = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _with_canary(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


def test_a_scan_leaves_no_secret_in_files_logs_or_messages(
    port: int, session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(session))
    (tmp_path / "good.csv").write_text("caption\n" + "".join(f"a cat {n}\n" for n in range(9)))
    out = tmp_path / "out"
    bad = f"http://127.0.0.1:{port}/bad.parquet?download=true"
    inputs = ("--captions", str(tmp_path / "good.csv"), bad)
    done = memscan(*SCAN, *inputs, "--out", str(out / "run"), check=False)
    assert done.returncode in (1, 3), done.stderr
    assert CANARY not in done.stdout + done.stderr
    good = memscan(*SCAN, "--actors", "2", *inputs[:2], "--out", str(out / "good"))
    assert CANARY not in good.stdout + good.stderr
    for command in ("status", "rank"):
        shown = called(command, str(out / "good"), "--json")
        assert CANARY not in shown.stdout + shown.stderr
    assert _with_canary(out) == []
    assert _with_canary(session) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("status", "s3://bucket/run"),
        ("rank", "s3://bucket/run"),
        (*SCAN, "--captions", "s3://bucket/data/*.csv", "--out", "{out}/run"),
        (*SCAN, "--captions", "s3://bucket/x.csv", "--out", "{out}/run"),
        (*SCAN, "--captions", f"https://h.example/x.csv?TOKEN={CANARY}", "--out", "{out}/run"),
        (*SCAN, "--captions", f"https://h.example/x.csv?%73ig={CANARY}", "--out", "{out}/run"),
        (*SCAN, "--captions", "x.csv", "--out", f"s3://key:{CANARY}@bucket/run"),
        (
            "scan",
            *["--captions", "x", "--out", "y", "--model"],
            f"https://user:{CANARY}@h.example/m",
        ),
        ("sql", f"https://h.example/run?auth={CANARY}", "SELECT 1"),
        ("calibrate", "{out}", "--labels", f"https://h.example/l.csv?api_key={CANARY}"),
    ],
    ids=lambda words: words[0],
)
def test_an_error_repeats_no_secret(words: tuple[str, ...], port: int, tmp_path: Path) -> None:
    done = called(*(word.replace("{out}", str(tmp_path)) for word in words), check=False)
    assert done.returncode in (1, 2)
    assert CANARY not in done.stdout + done.stderr
