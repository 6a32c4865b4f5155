"""A hub of models and data sets on this machine, which fails as a test wants."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves repositories, ``owner/name``, from the folders of the same names below ``folder``.

    ``bad``: what the next requests whose path contains ``failing`` are answered with: a status, or
    "drop" for a connection that is closed without an answer. ``requests``: method and path of each.
    ``is_gated``: whether nobody may read the files; ``revision``: the commit of all branches.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.bad: list[int | str] = []
        self.failing = "/"
        self.is_gated = False
        self.revision = REVISION
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def downloads(self, ending: str) -> list[str]:
        """Return the requests for the data of files with an ending."""
        return [one for one in self.requests if one.startswith("GET") and one.endswith(ending)]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if self.server.bad and self.server.failing in path:
            bad = self.server.bad.pop(0)
            if bad == "drop":
                self.close_connection = True
                return
            self._send(int(bad), b"")
            return
        parts = path.strip("/").split("/")
        if self.server.is_gated and parts[-1] == "auth-check":
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
            return
        if parts[0] == "api" and not self.server.folder.joinpath(*parts[2:4]).is_dir():
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        if parts[0] == "api":
            self._send(200, json.dumps(self._api(parts[1:], body)).encode())
            return
        if parts[0] == "datasets":
            parts = parts[1:]
        file = self.server.folder.joinpath(*parts[:2], *parts[4:])
        if file.is_file():
            self._file(file)
        else:
            self._send(404, b"")

    def _api(self, parts: list[str], body: bytes) -> Any:
        """Answer about the repository ``parts[1:3]``; what is asked is ``parts[3]``."""
        name = "/".join(parts[1:3])
        root = self.server.folder / name
        entries = [
            {
                "type": "directory" if path.is_dir() else "file",
                "path": str(path.relative_to(root)),
                "size": 0 if path.is_dir() else path.stat().st_size,
                "oid": hashlib.sha1(str(path).encode()).hexdigest(),
            }
            for path in sorted(root.rglob("*"))
        ]
        if parts[3:4] == ["tree"]:
            return entries
        if parts[3:4] == ["paths-info"]:
            wanted = json.loads(body)["paths"] if body[:1] == b"{" else unquote(body.decode())
            return [entry for entry in entries if entry["path"] in wanted]
        gated = "manual" if self.server.is_gated else False
        about = {"id": name, "sha": self.server.revision, "private": False, "gated": gated}
        return {**about, "siblings": []}

    def _file(self, file: Path) -> None:
        data, status = file.read_bytes(), 200
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": self.server.revision,
        }
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = int(last) + 1 if last else len(data)
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
            data, status = data[int(first) : end], 206
        self._send(status, data, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path, cache: Path, environ: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a folder, and let this process take the server for the hub, with an empty ``cache``.

    The hub's client reads its environment when it is imported.
    """
    hub = Hub(folder)
    threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True).start()
    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache / "hub"),
        "HF_HUB_OFFLINE": False,
    }.items():
        environ.setattr(f"huggingface_hub.constants.{name}", value)
    environ.setenv("HOME", str(cache))
    environ.setenv("HF_ENDPOINT", hub.url)  # for processes that a test starts
    environ.setenv("HF_HOME", str(cache))
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
