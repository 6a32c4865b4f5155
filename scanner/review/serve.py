"""Serve a site over HTTP until the process is stopped."""

import contextlib
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from scanner.errors import UserError
from scanner.review.access import AccessGuard
from scanner.review.app import make_app
from scanner.review.site import Site

TOKEN_BYTES = 24
SHORTEST_TOKEN = 16
LOCAL = ("127.0.0.1", "localhost", "[::1]")
# Far above the pages that some reviewers load at once.
CONNECTIONS = 200


@dataclass(frozen=True)
class ServeOptions:
    """Address of the server. ``hosts``: further names that it answers to, such as that of a proxy,
    each with its port unless that is the scheme's."""

    host: str = "127.0.0.1"
    port: int = 8765
    hosts: tuple[str, ...] = ()


def read_token(file: str | None) -> str:
    """Return a new random token, or the one in ``file``, which only its owner may read; a new one
    is stored there. Raises UserError."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    if file is None:
        return token
    try:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as new:
                new.write(token)
        if Path(file).stat().st_mode & 0o077:
            raise UserError(f"--token-file {file}: others can read it; run chmod 600 on it")
        token = Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--token-file {file}: cannot be used: {error}") from error
    if len(token) < SHORTEST_TOKEN or not all(c.isalnum() or c in "-_" for c in token):
        raise UserError(
            f"--token-file {file}: must hold at least {SHORTEST_TOKEN} letters, digits, - or _; "
            "remove it to get a new token"
        )
    return token


def serve(site: Site, token: str, options: ServeOptions, started: Callable[[str], None]) -> None:
    """Answer requests until the process is stopped; calls ``started`` with the URL of the pages.

    Raises UserError if the address cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listener = socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        raise UserError(
            f"--host {options.host} --port {options.port}: cannot listen here: {error}; choose "
            "another --port, or 0 for any free one"
        ) from error
    port = listener.getsockname()[1]
    own = f"[{options.host}]" if ":" in options.host else options.host
    names = {f"{name}:{port}" for name in (*LOCAL, own)}
    hosts = frozenset(name.lower() for name in {*names, *options.hosts})
    config = uvicorn.Config(
        AccessGuard(make_app(site), token, hosts),
        # Requests have the token in their path.
        access_log=False,
        log_level="warning",
        lifespan="off",
        limit_concurrency=CONNECTIONS,
        server_header=False,
        ws="none",
        proxy_headers=False,
    )
    started(f"http://{own}:{port}{site.base}/queue")
    with listener:
        uvicorn.Server(config).run(sockets=[listener])
