"""Images of a caption: generated ones and those of its samples, encoded again before shown."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from scanner.evidence.training_images.image_path import WEB
from scanner.evidence.training_images.place import NEXT_TO_CAPTIONS, ImagePlace
from scanner.evidence.training_images.sample_images import Sample, SampleImages
from scanner.query import RunTables
from scanner.report.image_sizes import encode
from scanner.report.thumbnails import decode, read_stored, why_refused
from scanner.review.samples import CaptionSamples
from scanner.storage import ImageHosts, Roots, Store

log = logging.getLogger("memscan.review")

SIDE = 512
CACHED = 128
READERS = 8
RETRY_SECONDS = 300.0
MOST_REASONS = 100
_VERDICT = "SELECT * FROM verdicts WHERE caption_id = $id"
PLACES = {
    "nearest": ("reference_source", "reference_row"),
    "source": ("source_file", "source_row"),
}
"""Columns of verdicts that say where a training image is, by kind of image."""


@dataclass
class Pictures:
    """The images that pages may show: of the run itself, below ``roots``, and, of ``place``, those
    that its template leads to. Safe for threads.

    A page names an image by caption, kind and number, never by a path. READERS images are read at a
    time, so that one slow file does not delay the others, and decoded one at a time, which takes
    memory.
    """

    tables: RunTables
    samples: CaptionSamples
    store: Store
    roots: Roots
    place: ImagePlace = NEXT_TO_CAPTIONS
    _kept: OrderedDict[tuple[str, str, int], bytes | None] = field(default_factory=OrderedDict)
    _hosts: ImageHosts = field(default_factory=lambda: ImageHosts(retry_seconds=RETRY_SECONDS))
    _logged: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reading: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(READERS))
    _decoding: threading.Lock = field(default_factory=threading.Lock)

    def webp(self, caption_id: str, kind: str, number: int) -> bytes | None:
        """Return an image as WebP, at most 512 pixels wide and high; None if it cannot be shown.

        ``kind``: generated (``number``: the seed), nearest (the most similar training image of the
        caption), source (that of all images of an index), or training (of the caption's samples).
        """
        key = (caption_id, kind, number)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._reading:  # until it is decoded: READERS files are in memory at most
            data = self._read(*key)
            with self._decoding:
                encoded = _webp(data) if data else None
        with self._lock:
            # What a web host does not give now, it may give later.
            if encoded is not None or not (self.place.images or "").startswith((*WEB, "{")):
                self._kept[key] = encoded
            while len(self._kept) > CACHED:
                self._kept.popitem(last=False)
        return encoded

    def _read(self, caption_id: str, kind: str, number: int) -> bytes | None:
        """Return the bytes of an image's file, or None."""
        if kind == "training":
            return self._training(self.samples.of(caption_id)[number : number + 1])
        (verdict, *_) = self.tables.query(_VERDICT, {"id": caption_id}).to_pylist() or [None]
        if verdict is None:
            return None
        if kind in PLACES:
            place = tuple(verdict[column] for column in PLACES[kind])
            if place[0] is None:
                return None
            own = self.samples.of(caption_id)
            found = [one for one in own if (one["source"], one["row"]) == place]
            if not found and self.place.images:
                found = self.samples.at(*place)
            key = (verdict["source_keys"] or [None])[0] if kind == "source" else None
            return self._training(found or [{"source": place[0], "row": place[1], "key": key}])
        names = (verdict["images"] or [])[number : number + 1]
        if not names or why_refused(self.store, names[0], self.roots):
            return None
        return read_stored(self.store, names[0])

    def _training(self, samples: Sequence[Sample]) -> bytes | None:
        place = self.place.images, self.place.image_column
        finder = SampleImages(*place, self.roots, self._hosts, decode=bytes)
        images = finder.images(list(samples))
        for why in finder.problems:
            with self._lock:
                is_new = why not in self._logged and len(self._logged) < MOST_REASONS
                self._logged |= {why} if is_new else set()
            if is_new:
                log.info(f"a training image is not shown: {why}")
        return images[0] if images else None


def _webp(data: bytes) -> bytes | None:
    """Return an image scaled down, None if it cannot be decoded."""
    image = decode(data, SIDE)
    return None if image is None else encode(image, SIDE)
