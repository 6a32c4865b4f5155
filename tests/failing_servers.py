"""S3 servers that fail: a real one that is killed and comes back, and one that misbehaves."""

import http.server
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from tests.conftest import SERVER

OUTAGE_SECONDS = 3.0


class Server:
    """A localbucket process on a port of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bucket").mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*SERVER, "--port", str(self.port), str(self.folder)], stderr=subprocess.DEVNULL
        )
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def outage(self) -> threading.Thread:
        """Kill the server now; the thread starts it again."""
        self.kill()
        thread = threading.Thread(target=lambda: (time.sleep(OUTAGE_SECONDS), self.start()))
        thread.start()
        return thread


class Answers(http.server.BaseHTTPRequestHandler):
    """An S3 that misbehaves: the server's ``bad`` answers first, then good ones."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests += 1  # type: ignore[attr-defined]
        bad = self.server.bad  # type: ignore[attr-defined]
        kind = bad.pop(0) if bad else "good"
        if kind == "reset":
            self.close_connection = True
            return
        if kind in ("good", "cut"):
            self.send_response(200)
            self.send_header("Content-Length", "0" if self.command == "PUT" else "5")
            self.send_header("ETag", '"x"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"hello" if kind == "good" else b"he")
            self.close_connection = kind == "cut"
            return
        status, code = kind
        body = f"<Error><Code>{code}</Code><Message>for a test</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        pass
