"""The files of a finished index: its record and its manifests."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pydantic
from typing_extensions import TypedDict

from scanner.errors import UserError
from scanner.evidence.embedding_file import EmbeddingFile
from scanner.evidence.index import descriptor
from scanner.evidence.index.embedders import Embedder, make_embedder
from scanner.evidence.index.plan import REMEDY, IndexPlan, digest
from scanner.evidence.index.search import Shards
from scanner.evidence.index.shards import KIND, LARGEST_DIMENSION, UNREADABLE_KIND
from scanner.run import Commit
from scanner.run.json_files import Count, Counts
from scanner.run.records import LARGEST_BYTES, Part, decode, encode
from scanner.storage import Store

FORMAT = 1
RECORD = "index.json"
REASONS = 100
_MANIFEST = re.compile(r"manifest-(\d{1,9})\.json")


class EmbeddingRecord(TypedDict):
    """The embedding of an index: its file's name and SHA-256, or those of the built-in one."""

    name: str
    sha256: str


@dataclass(frozen=True)
class IndexRecord:
    """index.json: what the vectors are, and how many. ``counts``: see :class:`Manifest`."""

    format: int
    embedding: EmbeddingRecord
    dimension: int = pydantic.Field(ge=1, le=LARGEST_DIMENSION)
    fingerprint: str = ""
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """manifest-0001.json and its successors: exactly the files of an index, in the order of their
    rows.

    ``counts``: ``images`` indexed, the ``samples`` that have them, ``unreadable`` images,
    ``missing`` images of failed items and ``unreadable_files``; ``reasons``: of unreadable images,
    the most frequent ones; ``failed``: why items failed, by id.
    """

    fingerprint: str
    shards: tuple[Part, ...]
    unreadable: tuple[Part, ...]
    counts: dict[str, Count]
    reasons: dict[str, Count]
    failed: dict[str, str]


@dataclass(frozen=True)
class Index:
    """A finished index, opened to search."""

    url: str
    record: IndexRecord
    manifest: Manifest
    shards: Shards

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.manifest.shards)

    @property
    def images(self) -> int:
        return sum(part.rows for part in self.manifest.shards)

    @property
    def digest(self) -> str:
        """A hash of the shards, which changes if images are added or removed."""
        return digest([part.sha256 for part in self.manifest.shards])

    @property
    def is_built_in(self) -> bool:
        """Return whether the built-in descriptor made the index."""
        return self.record.embedding["sha256"] == descriptor.SHA256

    def embedder(self, file: EmbeddingFile | None, device: str = "cpu") -> Embedder:
        """Return the embedder of the index. Raises UserError unless ``file`` is its embedding, or
        None for the built-in one."""
        embedder = make_embedder(file, device)
        name, sha256 = self.record.embedding["name"], self.record.embedding["sha256"]
        if sha256 == embedder.sha256:
            return embedder
        remedy = "leave out --embedding"
        if not self.is_built_in:
            remedy = f"name that file as --embedding, and {sha256} as --embedding-sha256"
        raise UserError(
            f"{self.url}: was made with the embedding {name} (SHA-256 {sha256}), not with "
            f"{embedder.name}; {remedy}"
        )


def open_index(url: str) -> Index:
    """Open a finished index. Raises UserError if there is none."""
    store = Store(url, single_writer=True)
    newest = next(reversed(manifest_names(store)), None)
    if newest is None or not store.exists(RECORD):
        why = store.why_missing() or f"{RECORD} is missing"
        raise UserError(
            f"{url}: no finished index here ({why}); make or finish it by memscan index-images"
        )
    record = _read(store, RECORD, IndexRecord)
    if record.format != FORMAT:
        raise UserError(
            f"{url}: an index of format {record.format}, and this version reads {FORMAT}; use "
            "another version of memscan, or make the index again"
        )
    manifest = _read(store, newest, Manifest)
    return Index(url, record, manifest, Shards(store, manifest.shards, record.dimension))


def seal(store: Store, record: IndexRecord, manifest: Manifest) -> None:
    """Write a manifest, unless the newest is the same, and the index's record."""
    names = manifest_names(store)
    data = encode(asdict(manifest))
    if not names or store.read(names[-1], LARGEST_BYTES) != data:
        found = _MANIFEST.fullmatch(names[-1]) if names else None
        number = 1 + (int(found[1]) if found else 0)
        while not store.create(f"manifest-{number:04d}.json", data):
            number += 1
    store.write(RECORD, encode(asdict(record)))


def manifest_of(plan: IndexPlan, commits: Sequence[Commit], failed: Mapping[str, str]) -> Manifest:
    """Return the manifest of what is committed; ``failed``: why the other items failed."""
    reasons: Counter[str] = Counter()
    for commit in commits:
        reasons.update(commit.notes["problems"])
    return Manifest(
        plan.fingerprint,
        tuple(part for commit in commits for part in commit.parts if part.kind == KIND),
        tuple(part for commit in commits for part in commit.parts if part.kind == UNREADABLE_KIND),
        {
            "images": sum(commit.notes["images"] for commit in commits),
            "samples": sum(commit.notes["samples"] for commit in commits),
            "unreadable": reasons.total(),
            "missing": sum(item.images for item in plan.items if item.id in failed),
            "unreadable_files": len(plan.unreadable),
        },
        dict(reasons.most_common(REASONS)),
        dict(sorted(failed.items())),
    )


def manifest_names(store: Store) -> list[str]:
    """Return the manifests of an index, oldest first."""
    return sorted(filter(_MANIFEST.fullmatch, store.names("")), key=lambda name: (len(name), name))


def _read(store: Store, name: str, kind: Any) -> Any:
    return decode(store.location(name), store.read(name, LARGEST_BYTES), kind, REMEDY)
