"""Load the training images of samples: from an image column, tar files, or a path template."""

import os
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scanner.captions.formats import ending_of
from scanner.captions.images import (
    IMAGE_DATA_COLUMNS,
    TOO_LARGE,
    NotAnImage,
    image_bytes,
    open_image,
)
from scanner.captions.limits import IMAGE_BYTES
from scanner.captions.parquet import SkippedRows, bounded_batches, open_parquet
from scanner.captions.webdataset import tar_files
from scanner.errors import UserError
from scanner.evidence.training_images.image_path import WEB, UnsafeValue, filled, folder_of
from scanner.storage import (
    ImageHosts,
    Missing,
    Roots,
    full_url,
    is_transient,
    open_input,
    split_url,
)

IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "bmp", "gif")
LARGEST_PIXELS = 1024
BATCH_ROWS = 256
# What a damaged file raises, or one whose store needs a client that is not installed (UserError).
DAMAGE = (OSError, ValueError, EOFError, tarfile.TarError, pa.ArrowException, UserError)
Sample = Mapping[str, Any]


def reduced_image(data: bytes) -> Image.Image:
    """Decode an image, scaled down to at most ``LARGEST_PIXELS``. Raises NotAnImage."""
    return open_image(data, LARGEST_PIXELS)


class SampleImages:
    """Loads the training images of samples, which have source, row, key and the kept columns.

    ``template``: location of an image (see :mod:`scanner.evidence.training_images.image_path`); of
    a local one, links that lead out of its directory are refused, except to ``roots`` that the user
    named.
    Without one, images are expected next to the caption: in a Parquet column (``column``, or a
    common name), in the sample's tar, or in the tar with the same name as its Parquet file, as from
    img2dataset. ``roots``: where files named by a run may be stored; by default anywhere.
    ``hosts``: limits retries of web hosts. ``decode``: makes of a file's bytes what is returned, by
    default an image of at most ``LARGEST_PIXELS`` wide and high; may raise NotAnImage. Images that
    cannot be loaded are None, and ``problems`` counts the reasons. Raises only if a store does not
    respond.
    """

    def __init__(
        self,
        template: str | None,
        column: str | None,
        roots: Roots | None = None,
        hosts: ImageHosts | None = None,
        decode: Callable[[bytes], Any] = reduced_image,
    ) -> None:
        self.template = template
        self.column = column
        self.roots = roots
        self.problems: Counter[str] = Counter()
        self._hosts = hosts or ImageHosts()
        self._decoded = decode
        scheme, is_url, _ = (template or "{").partition("://")
        is_local = not is_url or scheme == "file"
        self._folder = ""
        if template and is_local and not template.startswith("{"):
            self._folder = os.path.realpath(_path(folder_of(template) or "."))

    def images(self, samples: list[Sample]) -> list[Any]:
        """Return the image of each sample as ``decode`` makes it, or None."""
        if self.template:
            return [self._decode(self._file(sample)) for sample in samples]
        images: list[Any] = [None] * len(samples)
        by_source: dict[str, list[int]] = {}
        for number, sample in enumerate(samples):
            by_source.setdefault(sample["source"], []).append(number)
        for source, numbers in by_source.items():
            files = self._next_to_captions(source, [samples[number] for number in numbers])
            for number, data in zip(numbers, files, strict=True):
                images[number] = self._decode(data)
        return images

    def _file(self, sample: Sample) -> bytes | None:
        try:
            url = filled(str(self.template), sample)
            if url.startswith(WEB):
                return self._bounded(lambda most: self._hosts.fetch(url, most))
            if self._folder and self._leaves_by_link(_path(url)):
                raise UnsafeValue("a link leads out of the template's directory; see --input-root")
            with open_input(url) as file:
                return self._bounded(file.read)
        except (UnsafeValue, Missing) as error:
            self.problems[f"--images: {error}"] += 1
        except (OSError, ValueError, UserError) as error:
            if is_transient(error):
                raise
            # Without the message, which names the file, to count equal failures together.
            self.problems[f"--images: {type(error).__name__}"] += 1
        return None

    def _leaves_by_link(self, path: str) -> bool:
        """Return whether links lead out of the template's directory, and not to a named root."""
        if Path(os.path.realpath(path)).is_relative_to(self._folder):
            return False
        return not (self.roots and self.roots.is_named_target(path))

    def _next_to_captions(self, source: str, samples: list[Sample]) -> list[bytes | None]:
        if why := self.roots and self.roots.why_refused(source):
            return self._miss_all(samples, f"{source} is refused: {why}; see --input-root")
        ending = ending_of(source)
        try:
            if ending == ".tar":
                return self._from_tar(source, samples, "row")
            if ending == ".parquet":
                return self._from_parquet(source, samples)
        except DAMAGE as error:
            if is_transient(error):
                raise
            return self._miss_all(samples, f"{source}: {type(error).__name__}: {error}")
        return self._miss_all(
            samples, "no images in this kind of file; give their location with --images"
        )

    def _from_parquet(self, source: str, samples: list[Sample]) -> list[bytes | None]:
        with open_input(source, cache_type="none") as file:
            parquet = open_parquet(file)
            column = self._image_column(parquet.schema_arrow.names)
            if column:
                values = _read_rows(file, parquet, column, {sample["row"] for sample in samples})
                return [image_bytes(values.get(sample["row"])) for sample in samples]
        if self.column:
            return self._miss_all(samples, f"no column {self.column} in {source}")
        tar = source.removesuffix(".parquet") + ".tar"
        if why := self.roots and self.roots.why_sidecar_refused(tar):
            return self._miss_all(samples, f"{tar} is refused: {why}; see --input-root")
        try:
            return self._from_tar(tar, samples, "key")
        except FileNotFoundError:
            return self._miss_all(
                samples, "no image column and no tar next to the Parquet file; use --images"
            )

    def _image_column(self, columns: list[str]) -> str | None:
        names = {name.lower(): name for name in columns}
        candidates = (self.column,) if self.column else IMAGE_DATA_COLUMNS
        return next((names[name.lower()] for name in candidates if name.lower() in names), None)

    def _from_tar(self, source: str, samples: list[Sample], by: str) -> list[bytes | None]:
        """Read images from a tar. ``by``: whether to identify samples by row or by key."""
        required = {sample[by] for sample in samples}
        files: dict[Any, bytes | None] = {}
        for row, key, ending, read in tar_files(source):
            name: Any = row if by == "row" else key.rpartition("/")[2]
            if name in required and ending in IMAGE_ENDINGS and name not in files:
                files[name] = self._bounded(read)
                if len(files) == len(required):
                    break
        missing = sum(sample[by] not in files for sample in samples)
        self.problems.update({"no image with its key in the tar": missing} if missing else {})
        return [files.get(sample[by]) for sample in samples]

    def _bounded(self, read: Callable[[int], bytes]) -> bytes | None:
        data = read(IMAGE_BYTES + 1)
        if len(data) <= IMAGE_BYTES:
            return data
        self.problems[TOO_LARGE] += 1
        return None

    def _decode(self, data: bytes | None) -> Any:
        if data is None:
            return None
        try:
            return self._decoded(data)
        except NotAnImage as error:
            self.problems[f"unreadable image: {error.kind}"] += 1
            return None

    def _miss_all(self, samples: list[Sample], why: str) -> list[bytes | None]:
        self.problems[why] += len(samples)
        return [None] * len(samples)


def _path(url: str) -> str:
    """Return the absolute path of a local location."""
    return split_url(full_url(url))[1]


def _read_rows(
    file: IO[bytes], parquet: pq.ParquetFile, column: str, rows: set[int]
) -> dict[int, Any]:
    """Read a column's values in some rows, from only their row groups, one batch at a time.

    Raises ValueError if a row group exceeds a limit.
    """
    values: dict[int, Any] = {}
    start = 0
    for group in range(parquet.metadata.num_row_groups):
        end = start + parquet.metadata.row_group(group).num_rows
        if any(start <= row < end for row in rows):
            first = start
            for batch in bounded_batches(file, parquet, [group], [column], BATCH_ROWS):
                if isinstance(batch, SkippedRows):
                    raise ValueError(batch.reason)
                inside = [row for row in rows if first <= row < first + len(batch)]
                values |= {row: batch.column(0)[row - first].as_py() for row in inside}
                first += len(batch)
        start = end
    return values
