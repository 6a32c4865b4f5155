"""A store that counts requests, with the commits of millions of slices made up as they are read."""

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scanner.run import Commit, Slice
from scanner.run.compaction import KINDS, GroupSizes
from scanner.run.records import Part
from scanner.scan.plan.grouping import part_rows
from scanner.scan.plan.sizes import PlanSizes
from scanner.storage import Store, Stored
from scanner.storage.parallel_listing import list_folder

# Assumed latency of a listing's page, which the simulation waits for.
LIST_SECONDS = 0.1
BYTES_PER_CAPTION = 411


@dataclass(frozen=True)
class Size:
    """A simulated run: its captions, captions per slice, and how many of its slices are committed
    and merged."""

    captions: int
    slice_captions: int
    committed: float = 1.0
    is_merged: bool = False

    def slices(self) -> Iterator[Slice]:
        """Yield the slices of the plan; captions ids are evenly spaced."""
        step = (1 << 128) // (self.captions + 1)
        per_file = min(PlanSizes.range_rows, part_rows(self.slice_captions))
        number = 0
        for start in range(0, self.captions, per_file):
            end = min(start + per_file, self.captions)
            file = f"captions/{start // per_file:06d}-0123456789ab-00.parquet"
            for first in range(start, end, self.slice_captions):
                last = min(first + self.slice_captions, end)
                ids = f"{first * step:032x}", f"{last * step - 1:032x}"
                yield Slice(f"{number:06d}", file, *ids, last - first)
                number += 1

    def groups(self) -> list[tuple[str, str, int, int]]:
        """Return first id, last id, slices and captions of each merged group."""
        groups: list[tuple[str, str, int, int]] = []
        first, last, slices, captions = "", "", 0, 0
        for item in self.slices():
            if slices and captions >= GroupSizes.rows:
                groups.append((first, last, slices, captions))
                slices = captions = 0
            first, last = (item.id if not slices else first), item.id
            slices, captions = slices + 1, captions + item.rows
        return [*groups, (first, last, slices, captions)]


@dataclass
class SimulatedFiles:
    """The part of a filesystem that Store uses, as S3: files below ``folder`` are real, commits and
    parts of the simulated run are not. ``requests``: those that S3 would have had; ``waited``:
    seconds that listings waited for them."""

    folder: Path
    size: Size
    protocol: str = "s3"
    requests: Counter[str] = field(default_factory=Counter)
    waited: float = 0.0

    def __post_init__(self) -> None:
        slices = -(-self.size.captions // self.size.slice_captions)
        self._committed = int(slices * self.size.committed)
        groups = self.size.groups() if self.size.is_merged else []
        self._groups = {f"{first}-{last}": (number, rows) for first, last, number, rows in groups}

    def unstrip_protocol(self, path: str) -> str:
        return f"s3://{path}"

    def exists(self, path: str) -> bool:
        self.requests["HEAD"] += 1
        return (self.folder / path).exists()

    def list_folder(self, path: str) -> dict[str, Stored]:
        files = dict(self._files(path))
        began, computed = time.perf_counter(), time.process_time()
        listing = list_folder(_Pages(sorted(files), self.requests).request, "")
        with ThreadPoolExecutor(1) as thread:  # the caller's thread may run a loop already
            found = thread.submit(asyncio.run, listing).result()
        self.waited += (time.perf_counter() - began) - (time.process_time() - computed)
        return {name: files[name] for name in found}

    def cat_file(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        self.requests["GET"] += 1
        folder, _, name = path.rpartition("/")
        if folder.endswith("/compaction"):
            return self._merged(name.split(".")[0]).to_json()
        return (self.folder / path).read_bytes()[start:end]

    def pipe_file(self, path: str, data: bytes, **_: Any) -> dict[str, Any]:
        self.requests["PUT"] += 1
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data)
        return {"ETag": f'"{len(data)}"'}

    def _files(self, path: str) -> Iterator[tuple[str, Stored]]:
        _, _, folder = path.partition("/")
        if folder == "commits":
            for number in range(self._committed):
                yield f"{number:06d}.0.json", _stored(700)
        elif folder == "compaction":
            for name, (slices, _) in self._groups.items():
                yield f"{name}.{slices}.json", _stored(2_000)
        elif folder == KINDS["scores"]:
            for name, (_, rows) in self._groups.items():
                part = _part(name, rows)
                yield part.path.rpartition("/")[2], _stored(part.bytes)
        elif (self.folder / path).is_dir():
            for found in (self.folder / path).iterdir():
                if found.is_file():
                    yield found.name, _stored(found.stat().st_size)

    def _merged(self, name: str) -> Commit:
        slices, rows = self._groups[name]
        first = int(name.split("-")[0])
        replaced = [f"scores/{first + n:06d}-0123456789ab-00.parquet" for n in range(slices)]
        notes = {"replaced": replaced, "reasons": {}}
        return Commit(name, slices, "0" * 32, "f", (_part(name, rows),), 1.0, notes)


@dataclass(frozen=True)
class _Pages:
    """Sorted names, listed in pages as S3 does; each takes LIST_SECONDS."""

    names: list[str]
    requests: Counter[str]

    async def request(
        self,
        Prefix: str,
        MaxKeys: int,
        StartAfter: str = "",
        ContinuationToken: str = "",
        **_: Any,
    ) -> dict[str, Any]:
        self.requests["LIST"] += 1
        await asyncio.sleep(LIST_SECONDS)
        start = bisect_left(self.names, Prefix)
        if after := max(StartAfter, ContinuationToken):
            start = max(start, bisect_right(self.names, after))
        end = bisect_left(self.names, f"{Prefix}\U0010ffff")
        page = self.names[start : min(end, start + MaxKeys)]
        token = page[-1] if page and start + MaxKeys < end else ""
        return {
            "Contents": [{"Key": name, "Size": 0, "ETag": f'"{0:032x}"'} for name in page],
            "IsTruncated": bool(token),
            "NextContinuationToken": token,
        }


def _stored(size: int) -> Stored:
    return Stored(size, f'"{size:032x}"')


def _part(name: str, rows: int) -> Part:
    path = f"{KINDS['scores']}/{name}-0123456789ab-00.parquet"
    return Part(KINDS["scores"], path, rows, "0" * 64, rows * BYTES_PER_CAPTION)


class SimulatedStore(Store):
    """A store on simulated files."""

    def __init__(self, folder: Path, size: Size) -> None:
        super().__init__("memory://run", single_writer=True)
        self.url, self._root = "s3://bucket", "bucket"
        self._fs = SimulatedFiles(folder, size)

    @property
    def requests(self) -> Counter[str]:
        """Requests made so far, by kind."""
        return self._fs.requests

    @property
    def waited(self) -> float:
        """Seconds that listings have waited for their pages."""
        return self._fs.waited
