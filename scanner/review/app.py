"""The routes of the server."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from scanner.errors import UserError
from scanner.pages import VIEWER, stylesheet
from scanner.review.export import as_csv, as_parquet, as_policy, selection_table
from scanner.review.pictures import PLACES
from scanner.review.requests import MOST_BYTES, parse_decide, parse_undo
from scanner.review.selection import Filters
from scanner.review.site import FOLDER, Site

SCRIPTS = {path.name: path for path in (FOLDER / "review.js", VIEWER)}
IMAGE_KINDS = ("generated", *PLACES, "training")
MOST_NUMBER = 1000
Answer = Callable[[Request], Awaitable[Response]]


def make_app(site: Site) -> Starlette:
    """Return the application of a site, without its guard."""
    app = Starlette(
        routes=[
            Route("/", _threaded(lambda request: RedirectResponse(f"{site.base}/queue"))),
            Route("/queue", _threaded(lambda request: _queue(site, request))),
            Route("/caption/{caption_id}", _threaded(lambda request: _caption(site, request))),
            Route(
                "/caption/{caption_id}/samples", _threaded(lambda request: _samples(site, request))
            ),
            Route(
                "/image/{caption_id}/{kind}/{number:int}",
                _threaded(lambda request: _image(site, request)),
            ),
            Route("/summary", _threaded(lambda request: HTMLResponse(site.summary()))),
            Route("/decisions.csv", _threaded(lambda request: _decisions(site))),
            Route("/export.{kind}", _threaded(lambda request: _export(site, request))),
            Route("/static/{name}", _threaded(_static)),
            Route(
                "/decide",
                _posted(site, lambda body: site.decide(*parse_decide(body))),
                methods=["POST"],
            ),
            Route(
                "/undo",
                _posted(site, lambda body: site.undo(parse_undo(body).reviewer)),
                methods=["POST"],
            ),
        ]
    )
    # A redirect to the path without a slash would lack the token.
    app.router.redirect_slashes = False
    return app


def _threaded(answer: Callable[[Request], Response]) -> Answer:
    async def threaded(request: Request) -> Response:
        try:
            return await run_in_threadpool(answer, request)
        except UserError as error:
            return PlainTextResponse(f"{error}\n", 400)

    return threaded


def _posted(site: Site, act: Callable[[bytes], dict[str, Any]]) -> Answer:
    async def posted(request: Request) -> Response:
        if site.read_only:
            return JSONResponse({"error": "this server is read-only"}, 403)
        body = await request.body()
        if len(body) > MOST_BYTES:
            return JSONResponse({"error": "the request is too long"}, 413)
        try:
            return JSONResponse(await run_in_threadpool(act, body))
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)

    return posted


def _filters(request: Request) -> Filters:
    return Filters.of(dict(request.query_params))


def _queue(site: Site, request: Request) -> Response:
    page = request.query_params.get("page", "1")
    number = int(page) if page.isdecimal() and len(page) < 10 else 1
    return HTMLResponse(site.queue(_filters(request), number))


def _caption(site: Site, request: Request) -> Response:
    page = site.caption(request.path_params["caption_id"], _filters(request))
    if page is None:
        return PlainTextResponse("no ranked caption has this id\n", 404)
    return HTMLResponse(page)


def _samples(site: Site, request: Request) -> Response:
    return JSONResponse(site.samples(request.path_params["caption_id"]))


def _image(site: Site, request: Request) -> Response:
    kind, number = request.path_params["kind"], request.path_params["number"]
    if kind not in IMAGE_KINDS or number >= MOST_NUMBER:
        return PlainTextResponse("no such image\n", 404)
    data = site.pictures.webp(request.path_params["caption_id"], kind, number)
    if data is None:
        return PlainTextResponse("this image cannot be shown\n", 404)
    return Response(data, media_type="image/webp")


def _decisions(site: Site) -> Response:
    return _download(as_csv(site.book.table()), "decisions.csv", "text/csv")


def _export(site: Site, request: Request) -> Response:
    filters, kind = _filters(request), request.path_params["kind"]
    positions = site.selections.positions(filters)
    if kind == "toml":
        action = request.query_params.get("action", "drop")
        policy = as_policy(site.index, positions, filters, action)
        return _download(policy.encode(), "policy.toml", "application/toml")
    if kind not in ("csv", "parquet"):
        return PlainTextResponse("export.csv, export.parquet or export.toml\n", 404)
    table = selection_table(site.index, positions)
    if kind == "csv":
        return _download(as_csv(table), "captions.csv", "text/csv")
    return _download(as_parquet(table), "captions.parquet", "application/vnd.apache.parquet")


def _download(data: bytes, name: str, kind: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=kind, headers=headers)


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "style.css":
        style = stylesheet(VIEWER.with_suffix(".css"), FOLDER / "review.css")
        return Response(style, media_type="text/css")
    if script := SCRIPTS.get(name):
        return Response(script.read_text(encoding="utf-8"), media_type="text/javascript")
    return PlainTextResponse("no such file\n", 404)
