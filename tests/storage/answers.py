"""An S3 that misbehaves as it is told to."""

import http.server


class Answers(http.server.BaseHTTPRequestHandler):
    """The server's ``bad`` answers first, then good ones."""

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
