"""An index of a run's captions in the order of the ranking: columns to filter by, and their words.

A position is a caption's place in the ranking, from 0. Numbers are NumPy arrays by position, in
files that are mapped into memory; texts are rows of a SQLite file, with a full-text index (FTS5),
which answers in milliseconds where a scan of ten million captions takes seconds.
"""

import hashlib
import json
import logging
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.errors import UserError
from scanner.query import RunTables, caption_words
from scanner.query.hashes import ENGINE, hashes
from scanner.run import Run

log = logging.getLogger("memscan.review")

Positions = NDArray[np.int32]
VERSION = 2
BATCH = 50_000
# Captions whose words are counted, to tell rare words from frequent ones.
COUNTED_BATCHES = 4
_ROWS = """
    SELECT hash(caption_id) AS hash, rank_score::FLOAT AS rank_score,
           probability::FLOAT AS probability, n_samples::INTEGER AS n_samples, caption_id, caption,
           array_to_string(words(caption), ' ') AS words
    FROM ranked ORDER BY ranked.rank_score DESC, caption_id"""
_COLUMNS = {
    "hash": np.uint64,
    "rank_score": np.float32,
    "probability": np.float32,
    "n_samples": np.int32,
}
_TABLES = """
    CREATE TABLE captions(position INTEGER PRIMARY KEY, caption_id TEXT, caption TEXT);
    CREATE VIRTUAL TABLE words USING fts5(
        caption, content='', tokenize='unicode61'
    );
"""


@dataclass(frozen=True)
class Caption:
    """A caption at its position in the ranking, from 0."""

    position: int
    caption_id: str
    caption: str


@dataclass
class ReviewIndex:
    """The index of one run with one calibration, in a folder.

    ``hash``, ``rank_score``, ``probability`` (NaN without a calibration) and ``n_samples``: by
    position.
    ``frequent``: words by their number of captions among ``counted`` captions. Safe for threads.
    """

    folder: Path
    signal: str
    calibrated: bool
    counted: int
    frequent: dict[str, int]
    hash: NDArray[np.uint64] = field(init=False, repr=False)
    rank_score: NDArray[np.float32] = field(init=False, repr=False)
    probability: NDArray[np.float32] = field(init=False, repr=False)
    n_samples: NDArray[np.int32] = field(init=False, repr=False)
    _threads: threading.local = field(default_factory=threading.local, repr=False)

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            path = self.folder / f"{name}.npy"
            setattr(self, name, np.load(path, mmap_mode="r", allow_pickle=False))
        self._by_hash = np.load(self.folder / "by_hash.npy", mmap_mode="r", allow_pickle=False)
        self._sorted = np.load(self.folder / "sorted.npy", mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.hash)

    @property
    def measure(self) -> NDArray[np.float32]:
        """Return what a histogram shows: probabilities, or without a calibration rank scores."""
        return self.probability if self.calibrated else self.rank_score

    def captions(self, positions: Sequence[int] | Positions) -> list[Caption]:
        """Return the captions at these positions, in their order."""
        found: dict[int, Caption] = {}
        for start in range(0, len(positions), 500):
            some = [int(position) for position in positions[start : start + 500]]
            marks = ",".join("?" * len(some))
            sql = f"SELECT position, caption_id, caption FROM captions WHERE position IN ({marks})"
            found |= {row[0]: Caption(*row) for row in self._sqlite().execute(sql, some)}
        return [found[int(position)] for position in positions]

    def find(self, caption_id: str) -> Caption | None:
        """Return a caption by its id, or None if the ranking does not have it."""
        (hashed,) = hashes([caption_id])
        for position in self.at(np.array([hashed], np.uint64)):
            (caption,) = self.captions([position])
            if caption.caption_id == caption_id:
                return caption
        return None

    def at(self, wanted: NDArray[np.uint64]) -> Positions:
        """Return the positions of captions by the hashes of their ids, in order; unknown ones are
        left out."""
        if not len(self) or not len(wanted):
            return np.empty(0, np.int32)
        places = np.minimum(np.searchsorted(self._sorted, wanted), len(self) - 1)
        known = self._sorted[places] == wanted
        return np.unique(self._by_hash[places[known]])

    def search(self, query: str, limit: int) -> Positions:
        """Return the first ``limit`` positions of captions that match a query of FTS5."""
        sql = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid LIMIT ?"
        rows = self._sqlite().execute(sql, (query, limit))
        return np.fromiter((row[0] for row in rows), np.int32)

    def rarest(self, words: Sequence[str]) -> list[str]:
        """Return words, those in the fewest captions first."""
        return sorted(words, key=lambda word: (self.frequent.get(word, 0), word))

    def _sqlite(self) -> sqlite3.Connection:
        if not hasattr(self._threads, "connection"):
            uri = f"{(self.folder / 'captions.sqlite').as_uri()}?mode=ro&immutable=1"
            self._threads.connection = sqlite3.connect(uri, uri=True)
        connection: sqlite3.Connection = self._threads.connection
        return connection


def words_of(text: str) -> list[str]:
    """Return the distinct words of a text in lower case, in order."""
    (words,) = caption_words([text])
    return list(dict.fromkeys(words))


def phrase(words: Sequence[str]) -> str:
    """Return a query of FTS5 for consecutive words."""
    return f'"{" ".join(words)}"'


def open_index(tables: RunTables, folder: str | None = None) -> ReviewIndex:
    """Make the index of a run, or use the one in ``folder`` if it is of this run and calibration.

    Without ``folder``, it is in a temporary directory until the process ends. Raises UserError if
    the folder has other files.
    """
    key = _key(tables)
    if folder is None:
        path = Path(tempfile.mkdtemp(prefix="memscan-review-"))
        weakref.finalize(tables, shutil.rmtree, path, ignore_errors=True)
    else:
        path = Path(folder)
        if index := _existing(path, key):
            return index
        if path.exists() and not (path / "index.json").exists() and any(path.iterdir()):
            raise UserError(f"--index {folder}: holds other files; name a new directory")
        path.mkdir(parents=True, exist_ok=True)
    _build(tables, path, key)
    index = _existing(path, key)
    assert index is not None, "it was just made"
    return index


def _existing(folder: Path, key: str) -> ReviewIndex | None:
    try:
        record = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if record["key"] != key:
            return None
        return ReviewIndex(folder, **{name: record[name] for name in _RECORDED})
    except (OSError, ValueError, KeyError, TypeError):
        return None


_RECORDED = ("signal", "calibrated", "counted", "frequent")


def _build(tables: RunTables, folder: Path, key: str) -> None:
    (folder / "index.json").unlink(missing_ok=True)
    (folder / "captions.sqlite").unlink(missing_ok=True)
    connection = sqlite3.connect(folder / "captions.sqlite")
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
    frequent: Counter[str] = Counter()
    counted = done = 0
    for number, columns in enumerate(_batches(tables)):
        ids, texts, words = (columns.pop(name) for name in ("caption_id", "caption", "words"))
        for name, values in columns.items():
            parts[name].append(values)
        rows = zip(range(done, done + len(ids)), ids, texts, strict=True)
        connection.executemany("INSERT INTO captions VALUES (?, ?, ?)", rows)
        spaced = zip(range(done, done + len(ids)), words, strict=True)
        connection.executemany("INSERT INTO words(rowid, caption) VALUES (?, ?)", spaced)
        if number < COUNTED_BATCHES:
            frequent.update(word for text in words for word in set(text.split(" ")))
            counted += len(texts)
        done += len(ids)
        if done % (20 * BATCH) == 0:
            log.info(f"index: {done:,} captions read")
    connection.commit()
    connection.close()
    arrays = {
        name: np.concatenate([np.empty(0, kind), *parts[name]]) for name, kind in _COLUMNS.items()
    }
    arrays["by_hash"] = np.argsort(arrays["hash"], kind="stable").astype(np.int32)
    arrays["sorted"] = arrays["hash"][arrays["by_hash"]]
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values, allow_pickle=False)
    record = {
        "key": key,
        "signal": tables.rank_by(),
        "calibrated": bool(tables.calibration and tables.calibration.weights),
        "counted": counted,
        "frequent": {word: count for word, count in frequent.items() if count > 1},
    }
    (folder / "index.json").write_text(json.dumps(record), encoding="utf-8")


def _batches(tables: RunTables) -> Iterator[dict[str, Any]]:
    for batch in tables.batches(_ROWS, BATCH):
        columns: dict[str, Any] = {
            name: batch.column(name).to_numpy(zero_copy_only=False).astype(kind)
            for name, kind in _COLUMNS.items()
        }
        texts = ("caption_id", "caption", "words")
        yield {**columns, **{name: batch.column(name).to_pylist() for name in texts}}


def _key(tables: RunTables) -> str:
    """Return what the content of an index depends on, hashed."""
    parts = (
        *(VERSION, ENGINE, tables.rank_by(), Run.existing(tables.url).manifest()),
        repr(tables.calibration and (tables.calibration.weights, tables.calibration.intercept)),
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
