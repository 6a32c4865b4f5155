"""An HTTP proxy before a server of a store: answers badly for a while, or drops preconditions."""

import http.client
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONDITION = re.compile(r"&ifGenerationMatch=0|ifGenerationMatch=0&")
HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}


class FaultyProxy(http.server.ThreadingHTTPServer):
    """Passes requests on to ``port``, after the answers in ``bad``.

    Each of these is a status with headers, "reset" (a connection that ends before the answer) or
    "cut" (one that ends within it). ``is_careless``: conditions of writes are not passed on, or
    said to be fulfilled where a signature protects them.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = port
        self.bad: list[tuple[int, dict[str, str]] | str] = []
        self.requests = 0
        self.is_careless = False

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients drop connections."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests += 1
        bad = self.server.bad.pop(0) if self.server.bad else ""
        if bad == "reset":
            self.close_connection = True
        elif isinstance(bad, tuple):
            self._send(bad[0], bad[1], b"")
        else:
            status, headers, contents = self._passed_on(body)
            self._send(status, headers, contents, is_cut=bad == "cut")

    def _passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        path, headers = self.path, list(self.headers.items())
        if self.server.is_careless:
            path = CONDITION.sub("", path)
            if not self.headers.get("Authorization", "").startswith("SharedKey"):
                headers = [pair for pair in headers if pair[0].lower() != "if-none-match"]
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        contents = answer.read()
        connection.close()
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
        if self.command == "HEAD":
            kept["Content-Length"] = answer.headers.get("Content-Length", "0")
        if self.server.is_careless and answer.status == 409:
            return 201, {}, b""
        return answer.status, kept, contents

    def _send(
        self, status: int, headers: dict[str, str], body: bytes, is_cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.close_connection = self.close_connection or is_cut

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def faulty_proxy(port: int) -> Iterator[FaultyProxy]:
    """Start a proxy before the server on a port; its own port is ``server_port``."""
    proxy = FaultyProxy(port)
    threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
