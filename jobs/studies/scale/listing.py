"""Compare listing commits on S3 in parallel with listing them page by page.

Over HTTP, with the client that scans use, from a server that makes up the commits of slices and
waits before it answers, as S3 does.

Example: python -m jobs.studies.scale.listing --commits 100000
"""

import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jobs.console.terminal import command, show

FOLDER = "run/commits/"


@dataclass(frozen=True)
class ListingConfig:
    """What to list, and how long a request takes."""

    commits: int = 100_000
    """Number of commits."""
    latency: float = 0.1
    """Seconds per request."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ListingConfig, "jobs.studies.scale.listing", __doc__, _compare, arguments)


def _compare(config: ListingConfig) -> int:
    from s3fs import S3FileSystem

    from scanner.storage.retrying_s3 import RetryingS3

    with _served(config) as port:
        options: dict[str, Any] = {
            "key": "key",
            "secret": "secret",
            "endpoint_url": f"http://127.0.0.1:{port}",
            "client_kwargs": {"region_name": "us-east-1"},
            "use_listings_cache": False,
            "skip_instance_cache": True,
        }
        began = time.perf_counter()
        paged = S3FileSystem(**options).ls(f"bucket/{FOLDER}", detail=True)
        one_by_one = time.perf_counter() - began
        began = time.perf_counter()
        found = RetryingS3(**options).list_folder(f"bucket/{FOLDER.rstrip('/')}")
        parallel = time.perf_counter() - began
    if {entry["name"].rpartition("/")[2] for entry in paged} != set(found):
        raise RuntimeError("the listings differ")
    show(
        f"{len(found):,} commits at {config.latency:g} s per request: {one_by_one:.1f} s page by "
        f"page, {parallel:.1f} s in parallel, {one_by_one / parallel:.1f} times as fast"
    )
    return 0


@contextmanager
def _served(config: ListingConfig) -> Iterator[int]:
    """Serve the commits from another process; yields the port."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(config, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(config: ListingConfig, started: Connection) -> None:
    names = sorted(f"{FOLDER}{number:06d}.0.json" for number in range(config.commits))
    entries = [_entry(name) for name in names]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # sends headers and body together

        def do_GET(self) -> None:
            time.sleep(config.latency)
            body = _page(names, entries, parse_qs(urlsplit(self.path).query)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    started.send(server.server_port)
    threading.Event().wait()


def _entry(name: str) -> str:
    return (
        f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{0:032x}&quot;</ETag><Size>700</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _page(names: list[str], entries: list[str], query: dict[str, list[str]]) -> str:
    """Return the response to list_objects_v2: at most 1,000 sorted names of one folder."""
    prefix = query.get("prefix", [""])[0]
    after = query.get("continuation-token", query.get("start-after", [""]))[0]
    start = max(bisect_left(names, prefix), bisect_right(names, after))
    end = bisect_left(names, f"{prefix}\U0010ffff")
    stop = min(end, start + 1000)
    is_truncated = stop < end
    token = f"<NextContinuationToken>{names[stop - 1]}</NextContinuationToken>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
        'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
        f"<Prefix>{prefix}</Prefix><IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
        f"{token * is_truncated}{''.join(entries[start:stop])}</ListBucketResult>"
    )


if __name__ == "__main__":
    sys.exit(main())
