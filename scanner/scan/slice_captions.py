"""Read the captions of slices, of which a captions file holds up to thousands."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.run import Slice
from scanner.storage import Store

COLUMNS = ["caption_id", "caption"]
# An actor reads a file's slices one after another, and the next file's before the last one is done.
KEPT_FOOTERS = 2


@dataclass
class SliceReader:
    """Reads slices, and keeps the footers of the last files: that of a file with many slices is
    many times as large as a slice. May be used by several threads."""

    store: Store
    _footers: OrderedDict[str, pq.FileMetaData] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def read(self, item: Slice) -> pa.Table:
        """Return the captions of a slice, with their ids."""
        # A cache would fetch more than the row group, which is read in one request.
        with self.store.open(item.file, cache_type="none") as file:
            if item.row_group is not None:
                footer = self._footers.get(item.file)
                parquet = pq.ParquetFile(file, metadata=footer, pre_buffer=True)
                captions = parquet.read_row_group(item.row_group, COLUMNS)
                self._keep(item.file, parquet.metadata)
            else:
                ids = [("caption_id", ">=", item.first), ("caption_id", "<=", item.last)]
                captions = pq.read_table(file, columns=COLUMNS, filters=ids)
        if len(captions) != item.rows:
            raise RuntimeError(
                f"{item.file}: {len(captions)} captions, but {item.rows} are planned"
            )
        return captions

    def _keep(self, name: str, footer: pq.FileMetaData) -> None:
        with self._lock:
            self._footers[name] = footer
            self._footers.move_to_end(name)
            while len(self._footers) > KEPT_FOOTERS:
                self._footers.popitem(last=False)
