"""Time the pages of memscan review on a synthetic run, loaded by several reviewers at once.

The server is a separate process. Each client loads one page after another, chosen at random: pages
of the queue in the ranking, of a search, of a range of scores, and pages of captions. ``paced``
clients pause about two seconds between pages, as reviewers do at their fastest; the others do not.
Searching is also timed without a server, against a scan of the Parquet files by DuckDB.
"""

import http.client
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

log = logging.getLogger("memscan")

CLIENTS = 20
PAGES = 20
PAUSE = 2.0
SEARCHES = 10


def measure(scores: int, folder: Path | None = None) -> dict[str, Any]:
    """Return seconds per page and per search; see ``bench --json``.

    ``folder``: where to keep the synthetic run and its index, which are made if they do not exist.
    """
    from jobs.bench.sql_run import synthetic_run

    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as parent:
        run = synthetic_run(Path(parent), scores)
        began = time.perf_counter()
        # The index is kept, so the searches below use the one that the server makes.
        kept = str(Path(parent) / f"index-{scores}")
        with _served(run, kept) as (url, process):
            started = time.perf_counter() - began
            words = _words(run, kept)
            paced = _load(url, words, PAUSE)
            unpaced = _load(url, words, 0.0)
            used = process_bytes(process.pid)
        return {
            "captions": scores,
            "clients": CLIENTS,
            "start_seconds": started,
            "server_memory_bytes": used,
            "load_average": os.getloadavg()[0],
            "cores": len(os.sched_getaffinity(0)),
            "paced": paced,
            "unpaced": unpaced,
            "search": _searches(run, kept, words),
        }


@contextmanager
def _served(run: str, index: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "jobs.cli", "review", run, "--index", index]
    command += ["--port", "0", "--json", "--read-only"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server ended with status {process.wait()}")
            text += line
        yield json.loads(text)["url"].removesuffix("/queue"), process
    finally:
        process.terminate()
        process.wait()


def process_bytes(pid: int) -> int:
    """Return a process's peak resident memory, with the files that it maps."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _words(run: str, index: str) -> list[tuple[str, str]]:
    """Return captions to look at, each with its id."""
    found = _open(run, index)
    choose = random.Random(0)
    places = sorted(choose.randrange(len(found)) for _ in range(200))
    return [(one.caption_id, one.caption) for one in found.captions(places)]


def _open(run: str, index: str) -> Any:
    from scanner.query import open_run
    from scanner.review import open_index

    return open_index(open_run(run), index)


def _load(url: str, captions: list[tuple[str, str]], pause: float) -> dict[str, Any]:
    """Let all clients load pages; return the percentiles of the seconds, over all and by kind."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        parts = list(threads.map(lambda k: _client(url, captions, pause, k), range(CLIENTS)))
    by_kind: dict[str, list[float]] = {}
    for kind, seconds in (pair for part in parts for pair in part):
        by_kind.setdefault(kind, []).append(seconds)
    every = [seconds for part in parts for _, seconds in part]
    kinds = {kind: _percentiles(some) for kind, some in sorted(by_kind.items())}
    return {"pages": len(every), **_percentiles(every), "kinds": kinds}


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{percent}": float(np.percentile(seconds, percent)) for percent in (50, 95, 99)}


def _client(
    url: str, captions: list[tuple[str, str]], pause: float, number: int
) -> list[tuple[str, float]]:
    choose, place = random.Random(number), urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=120)
    timed = []
    time.sleep(choose.uniform(0, pause))
    for _ in range(PAGES):
        kind, path = _page(choose, captions)
        began = time.perf_counter()
        connection.request("GET", f"{place.path}/{path}")
        response = connection.getresponse()
        response.read()
        timed.append((kind, time.perf_counter() - began))
        if response.status != 200:
            raise RuntimeError(f"{path}: the server answered {response.status}")
        time.sleep(choose.uniform(0.5, 1.5) * pause)
    connection.close()
    return timed


def _page(choose: random.Random, captions: list[tuple[str, str]]) -> tuple[str, str]:
    caption_id, caption = choose.choice(captions)
    kind = choose.choice(("queue", "queue", "search", "range", "caption", "caption"))
    if kind == "queue":
        return kind, f"queue?page={choose.randrange(1, 200)}"
    if kind == "search":
        return kind, f"queue?q={quote(' '.join(choose.sample(caption.split(), 2)))}"
    if kind == "range":
        low = round(choose.uniform(0.8, 1.6), 1)
        return kind, f"queue?low={low}&high={low + 0.1}&page={choose.randrange(1, 20)}"
    return kind, f"caption/{caption_id}"


def _searches(run: str, index: str, captions: list[tuple[str, str]]) -> dict[str, float]:
    """Return seconds per search of two words, by FTS5 and by DuckDB, medians."""
    from scanner.query import open_run

    found, tables, choose = _open(run, index), open_run(run), random.Random(1)
    scan = """
        SELECT caption_id FROM texts
        WHERE contains(' ' || caption || ' ', $first) AND contains(' ' || caption || ' ', $second)
        LIMIT 100000"""
    seconds: dict[str, list[float]] = {"fts5": [], "duckdb_scan": []}
    for _ in range(SEARCHES):
        first, second = choose.sample(choose.choice(captions)[1].split(), 2)
        began = time.perf_counter()
        found.search(f'"{first}" AND "{second}"', 100_000)
        between = time.perf_counter()
        tables.query(scan, {"first": f" {first} ", "second": f" {second} "})
        seconds["fts5"].append(between - began)
        seconds["duckdb_scan"].append(time.perf_counter() - between)
    return {f"{name}_seconds": float(np.median(some)) for name, some in seconds.items()}


def lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as text."""
    text = [
        f"{figures['clients']} clients, {figures['captions']:,} captions, {figures['cores']} cores "
        f"(load average {figures['load_average']:.1f}); seconds per page",
        f"  {'':24}{'pages':>8}{'p50':>8}{'p95':>8}{'p99':>8}",
    ]
    for name in ("paced", "unpaced"):
        rows = {name: figures[name], **{f"  {k}": v for k, v in figures[name]["kinds"].items()}}
        for label, row in rows.items():
            values = "".join(f"{row[p]:>8.3f}" for p in ("p50", "p95", "p99"))
            text.append(f"  {label:24}{row.get('pages', ''):>8}{values}")
    search = figures["search"]
    return [
        *text,
        f"start {figures['start_seconds']:.0f} s, server's peak memory "
        f"{figures['server_memory_bytes'] / 1e9:.1f} GB with mapped files",
        f"search of two words: FTS5 {search['fts5_seconds']:.3f} s, DuckDB's scan of Parquet "
        f"{search['duckdb_scan_seconds']:.3f} s",
    ]
