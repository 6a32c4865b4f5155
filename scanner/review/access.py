"""Who may talk to the server: the token, the names of this host, and no other site's pages.

The token is the first part of every path but ``/healthz``: pages link to each other below it, it is
in no cookie that another local server could read, and a page of another site cannot guess it. In
addition, the Host header must be one of this server's names (DNS rebinding), and a request that
changes anything must come from a page of this server (Origin) and be JSON, which a form cannot
send.
"""

import hmac
from dataclasses import dataclass

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scanner.review.requests import MOST_BYTES

HEALTH = "/healthz"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True)
class AccessGuard:
    """Middleware that refuses what is not from this server's own pages.

    ``hosts``: the names and ports, as in Host headers, that this server answers to.
    """

    app: ASGIApp
    token: str
    hosts: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is None:
            base = f"/{self.token}"
            path = scope["path"][len(base) :] or "/"
            inner = {**scope, "path": path, "raw_path": path.encode()}
            await self.app(inner, receive, _with_headers(send))
        else:
            await refusal(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        if scope["path"] == HEALTH:
            return PlainTextResponse("ok\n")
        host = headers.get("host", [])
        if len(host) != 1 or host[0].lower() not in self.hosts:
            return PlainTextResponse("not a name of this server; see memscan review --help\n", 403)
        first = f"{scope['path']}/".split("/", 2)[1]
        if not hmac.compare_digest(first.encode(), self.token.encode()):
            return PlainTextResponse("use the address that memscan review printed\n", 404)
        changes = scope["method"] not in ("GET", "HEAD")
        origins = headers.get("origin", [])
        if any(not self._is_own(origin) for origin in origins) or (changes and not origins):
            return PlainTextResponse("only pages of this server may do this\n", 403)
        if headers.get("sec-fetch-site", ["none"]) not in (["none"], ["same-origin"]):
            return PlainTextResponse("only pages of this server may do this\n", 403)
        if changes and headers.get("content-type") != ["application/json"]:
            return PlainTextResponse("must be application/json\n", 415)
        if changes and not _is_short(headers.get("content-length", [])):
            return PlainTextResponse(f"at most {MOST_BYTES >> 20} MiB\n", 413)
        return None

    def _is_own(self, origin: str) -> bool:
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and host.lower() in self.hosts


def _is_short(lengths: list[str]) -> bool:
    """Return whether a request states one length, which is not too long."""
    return len(lengths) == 1 and lengths[0].isdecimal() and int(lengths[0]) <= MOST_BYTES


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending
