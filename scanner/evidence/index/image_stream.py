"""Stream the image files of samples in the order in which they are stored, each file read once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.formats import ending_of
from scanner.captions.images import IMAGE_DATA_COLUMNS, TOO_LARGE, image_bytes
from scanner.captions.limits import IMAGE_BYTES
from scanner.captions.parquet import SkippedRows, bounded_batches, open_parquet
from scanner.captions.webdataset import tar_files
from scanner.evidence.training_images.sample_images import DAMAGE, IMAGE_ENDINGS
from scanner.storage import Roots, is_transient, open_input

BATCH_ROWS = 256
NO_IMAGE = "no image in this row"
NOT_IN_TAR = "no image with its key in the tar"
ELSEWHERE = "no images in this kind of file; give their location with --images"
# An image's number, and its bytes or why it has none.
Found = tuple[int, bytes | str]


@dataclass(frozen=True)
class ImageStream:
    """Reads the images stored with samples: in a Parquet column (``column``, or a common name), in
    the sample's tar, or in the tar next to the Parquet file. ``roots``: where files may be stored.
    """

    column: str | None
    roots: Roots

    def images(self, samples: pa.Table) -> Iterator[Found]:
        """Yield every sample's image once, by the sample's number; samples of one source are
        consecutive and sorted by row.

        Raises only if a store does not respond.
        """
        start = 0
        sources = samples["source"].to_pylist()
        while start < len(sources):
            end = start
            while end < len(sources) and sources[end] == sources[start]:
                end += 1
            yield from self._numbered(start, sources[start], samples.slice(start, end - start))
            start = end

    def _numbered(self, start: int, source: str, samples: pa.Table) -> Iterator[Found]:
        """Yield the images of one source; the rest has no image if the file is damaged."""
        missing = dict.fromkeys(range(len(samples)))
        why = NOT_IN_TAR
        try:
            for number, data in self._of_source(source, samples):
                if number in missing:
                    del missing[number]
                    yield start + number, data
                if not missing:
                    return
        except DAMAGE as error:
            if is_transient(error):
                raise
            why = f"unreadable file: {type(error).__name__}: {error}"
        for number in missing:
            yield start + number, why

    def _of_source(self, source: str, samples: pa.Table) -> Iterator[Found]:
        if why := self.roots.why_refused(source):
            raise ValueError(f"{source} is refused: {why}; see --input-root")
        rows = samples["row"].to_pylist()
        ending = ending_of(source)
        if ending == ".tar":
            yield from _of_tar(source, {row: number for number, row in enumerate(rows)}, "row")
        elif ending != ".parquet":
            raise ValueError(ELSEWHERE)
        else:
            yield from self._of_parquet(source, rows, samples["key"].to_pylist())

    def _of_parquet(
        self, source: str, rows: Sequence[int], keys: Sequence[str | None]
    ) -> Iterator[Found]:
        with open_input(source, cache_type="none") as file:
            parquet = open_parquet(file)
            names = {name.lower(): name for name in parquet.schema_arrow.names}
            wanted = (self.column,) if self.column else IMAGE_DATA_COLUMNS
            column = next((names[n.lower()] for n in wanted if n.lower() in names), None)
            if column:
                yield from _of_column(file, parquet, column, rows)
                return
        if self.column:
            raise ValueError(f"no column {self.column} in {source}")
        tar = source.removesuffix(".parquet") + ".tar"
        if why := self.roots.why_sidecar_refused(tar):
            raise ValueError(f"{tar} is refused: {why}; see --input-root")
        yield from _of_tar(tar, {key: number for number, key in enumerate(keys)}, "key")


def _of_column(
    file: IO[bytes], parquet: pq.ParquetFile, column: str, rows: Sequence[int]
) -> Iterator[Found]:
    """Yield images of a Parquet column, from only the row groups that have some of the rows."""
    groups, places = _places(parquet, np.asarray(rows, np.int64))
    start = 0
    for batch in bounded_batches(file, parquet, groups, [column], BATCH_ROWS):
        end = start + (batch.rows if isinstance(batch, SkippedRows) else len(batch))
        first, last = np.searchsorted(places, (start, end)).tolist()
        for number in range(first, last):
            if isinstance(batch, SkippedRows):
                yield number, f"bad row: {batch.reason}"
                continue
            data = image_bytes(batch.column(0)[int(places[number]) - start].as_py())
            yield number, NO_IMAGE if data is None else _bounded(data)
        start = end


def _places(parquet: pq.ParquetFile, rows: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Return the row groups that have some of the sorted rows, and the place of each row among
    all rows of these groups."""
    groups, places, first, skipped = list[int](), rows.copy(), 0, 0
    for group in range(parquet.metadata.num_row_groups):
        count = parquet.metadata.row_group(group).num_rows
        start, end = np.searchsorted(rows, (first, first + count))
        places[start:end] -= skipped
        if end > start:
            groups.append(group)
        else:
            skipped += count
        first += count
    return groups, places[: np.searchsorted(rows, first)]


def _of_tar(source: str, numbers: Mapping[Any, int], by: str) -> Iterator[Found]:
    """Yield images of a tar by their sample's row or key; of several, the first."""
    seen = set[int]()
    for row, key, ending, read in tar_files(source):
        number = numbers.get(row if by == "row" else key.rpartition("/")[2])
        if number is not None and number not in seen and ending in IMAGE_ENDINGS:
            seen.add(number)
            yield number, _bounded(read(IMAGE_BYTES + 1))


def _bounded(data: bytes) -> bytes | str:
    return data if len(data) <= IMAGE_BYTES else TOO_LARGE
