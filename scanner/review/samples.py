"""The samples of captions: a scan of all samples, so those of the last captions are kept."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from scanner.query import RunTables

# Samples of a caption that pages know of.
MOST = 100
CACHED = 1000
_SAMPLES = """
    SELECT source, "row", key, image_key FROM samples
    WHERE caption_id = $id AND NOT is_reference ORDER BY source, "row" LIMIT $most"""


@dataclass
class CaptionSamples:
    """The first samples of captions, scanned for one caption at a time: several scans at once would
    slow each other down. Those that are kept do not wait for a scan. Safe for threads."""

    tables: RunTables
    _kept: OrderedDict[str, list[dict[str, Any]]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _scanning: threading.Lock = field(default_factory=threading.Lock)

    def of(self, caption_id: str) -> list[dict[str, Any]]:
        """Return source, row, key and image_key of a caption's first samples."""
        if (rows := self._known(caption_id)) is not None:
            return rows
        with self._scanning:
            if (rows := self._known(caption_id)) is not None:  # scanned in the meantime
                return rows
            rows = self.tables.query(_SAMPLES, {"id": caption_id, "most": MOST}).to_pylist()
        with self._lock:
            self._kept[caption_id] = rows
            while len(self._kept) > CACHED:
                self._kept.popitem(last=False)
        return rows

    def _known(self, caption_id: str) -> list[dict[str, Any]] | None:
        with self._lock:
            return self._kept.get(caption_id)
