"""Fetch public prompt lists, refuse changed ones by hash, and read their prompts."""

import csv
import hashlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scanner.errors import UserError
from scanner.replication.kits import PromptList
from scanner.replication.lock import lock_list
from scanner.storage import Store, fetch, full_url
from scanner.storage.outages import RETRY_SECONDS

LARGEST_BYTES = 1 << 20
"""More than four times the largest list: what is longer is another file."""


@dataclass(frozen=True)
class Prompt:
    """A prompt with its label. ``verdict``: verbatim, template or none; ``similarity``: of its
    generations to the training image, None if unknown."""

    caption: str
    memorized: bool
    verdict: str | None = None
    similarity: float | None = None


def fetch_list(
    listed: PromptList,
    store: Store,
    mirror: str | None = None,
    retry_seconds: float = RETRY_SECONDS,
) -> bytes:
    """Return the bytes of a list, which stay in the store under ``lists/``.

    ``mirror``: the location of a copy, instead of the list's own address. Raises UserError if the
    file is not the one that is pinned (by kits.toml, else by the lock), and StoreOutage if the
    server stays unavailable or breaks off.
    """
    name = f"lists/{listed.name}"
    if store.exists(name):
        url = store.location(name)
        data = store.read(name, LARGEST_BYTES)
        remedy = f"remove {url} to fetch it again"
    else:
        url = listed.url if mirror is None else f"{mirror.rstrip('/')}/{listed.name}"
        data = _fetched(url, retry_seconds)
        remedy = "fetch it from its source, or name another --mirror"
    found = hashlib.sha256(data).hexdigest()
    if listed.sha256 not in (None, found):
        raise UserError(
            f"{url}: SHA-256 {found} of {len(data):,} bytes, expected {listed.sha256}: the file is "
            f"damaged, incomplete or another version of {listed.name}; {remedy}"
        )
    lock_list(store, listed.name, listed.url, found, len(data))
    store.create(name, data)
    return data


def _fetched(url: str, retry_seconds: float) -> bytes:
    """Return a file's bytes. Keeps no copy of a file that may be refused, since the server may
    replace it by one of the same size."""
    with tempfile.TemporaryDirectory() as cache:
        copy = fetch(full_url(url), Path(cache), retry_seconds)
        if copy.is_dir():
            raise UserError(f"{url}: a directory where a prompt list is expected")
        with copy.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise UserError(f"{url}: over {LARGEST_BYTES:,} bytes, which no prompt list has")
    return data


def read_prompts(listed: PromptList, data: bytes) -> tuple[list[Prompt], int]:
    """Return the prompts of a list, and the number of rows without one.

    Raises UserError if the file lacks a column, or is not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{listed.name}: not UTF-8 ({error}); it is another file") from error
    rows = list(_rows(listed, text))
    prompts = [row for row in rows if row is not None]
    if not prompts:
        raise UserError(f"{listed.name}: no prompts in it; it is another file")
    return prompts, len(rows) - len(prompts)


def _rows(listed: PromptList, text: str) -> Iterator[Prompt | None]:
    """Yield the prompt of each row, None if it has none."""
    kind = None if listed.memorized else "none"
    if listed.caption is None:
        for line in text.splitlines():
            if line.strip():
                yield Prompt(line.strip(), listed.memorized, kind)
        return
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";")
    needed = {listed.caption, listed.kind, listed.similarity} - {None}
    if missing := sorted(map(str, needed - set(reader.fieldnames or ()))):
        raise UserError(
            f"{listed.name}: no column {missing[0]}, found {', '.join(reader.fieldnames or ())}; "
            "it is another file"
        )
    for row in reader:
        caption = (row[listed.caption] or "").strip()
        if listed.kind is not None:
            kind = listed.kinds.get(row[listed.kind] or "")
        similarity = row[listed.similarity] if listed.similarity else None
        yield Prompt(caption, listed.memorized, kind, _number(similarity)) if caption else None


def _number(text: str | None) -> float | None:
    try:
        return None if not text else max(0.0, float(text))
    except ValueError:
        return None
