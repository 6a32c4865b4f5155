"""The samples of captions: a scan of all samples, so those of the last captions are kept."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scanner.query import RunTables, identifier

# Samples of a caption that pages know of.
MOST = 100
CACHED = 1000
Key = str | tuple[str, int]
COLUMNS = ("source", "row", "key", "image_key")
_OF_CAPTION = """
    SELECT {} FROM samples
    WHERE caption_id = $id AND NOT is_reference ORDER BY source, "row" LIMIT $most"""
_AT = """
    SELECT {} FROM samples WHERE source = $source AND "row" = $row AND NOT is_reference LIMIT 1"""


@dataclass
class CaptionSamples:
    """The first samples of captions, scanned for one caption at a time: several scans at once would
    slow each other down. Those that are kept do not wait for a scan. Safe for threads.

    ``also``: columns of samples in addition to COLUMNS.
    """

    tables: RunTables
    also: Sequence[str] = ()
    _kept: OrderedDict[Key, list[dict[str, Any]]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _scanning: threading.Lock = field(default_factory=threading.Lock)

    def of(self, caption_id: str) -> list[dict[str, Any]]:
        """Return COLUMNS, and others asked for, of a caption's first samples."""
        sql = _OF_CAPTION.format(self._columns())
        return self._scan(caption_id, sql, {"id": caption_id, "most": MOST})

    def at(self, source: str, row: int) -> list[dict[str, Any]]:
        """Return the sample of a row, or nothing if the run has none."""
        sql = _AT.format(self._columns())
        return self._scan((source, row), sql, {"source": source, "row": row})

    def _columns(self) -> str:
        return ", ".join(identifier(name) for name in dict.fromkeys((*COLUMNS, *self.also)))

    def _scan(self, key: Key, sql: str, given: dict[str, Any]) -> list[dict[str, Any]]:
        if (rows := self._known(key)) is not None:
            return rows
        with self._scanning:
            if (rows := self._known(key)) is not None:  # scanned in the meantime
                return rows
            rows = self.tables.query(sql, given).to_pylist()
        with self._lock:
            self._kept[key] = rows
            while len(self._kept) > CACHED:
                self._kept.popitem(last=False)
        return rows

    def _known(self, key: Key) -> list[dict[str, Any]] | None:
        with self._lock:
            return self._kept.get(key)
