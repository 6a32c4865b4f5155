"""Images of a caption: generated ones and those of its samples, encoded again before shown."""

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from scanner.evidence.training_images.sample_images import Sample, SampleImages
from scanner.query import RunTables
from scanner.report.thumbnails import open_stored, why_refused
from scanner.review.samples import CaptionSamples
from scanner.storage import Roots, Store

SIDE = 512
CACHED = 128
_VERDICT = "SELECT * FROM verdicts WHERE caption_id = $id"
PLACES = {
    "nearest": ("reference_source", "reference_row"),
    "source": ("source_file", "source_row"),
}
"""Columns of verdicts that say where a training image is, by kind of image."""


@dataclass
class Pictures:
    """The images that pages may show: of the run itself, and below ``roots``. Safe for threads.

    A page names an image by caption, kind and number, never by a path.
    """

    tables: RunTables
    samples: CaptionSamples
    store: Store
    roots: Roots
    _kept: OrderedDict[tuple[str, str, int], bytes | None] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
            # One at a time: decoding takes memory.
            image = self._open(*key)
            self._kept[key] = _encoded(image) if image else None
            while len(self._kept) > CACHED:
                self._kept.popitem(last=False)
            return self._kept[key]

    def _open(self, caption_id: str, kind: str, number: int) -> Image.Image | None:
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
            key = (verdict["source_keys"] or [None])[0] if kind == "source" else None
            return self._training(found or [{"source": place[0], "row": place[1], "key": key}])
        names = (verdict["images"] or [])[number : number + 1]
        if not names or why_refused(self.store, names[0], self.roots):
            return None
        return open_stored(self.store, names[0])

    def _training(self, samples: Sequence[Sample]) -> Image.Image | None:
        images = SampleImages(None, None, self.roots).images(list(samples))
        return images[0] if images else None


def _encoded(image: Image.Image) -> bytes:
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    with io.BytesIO() as file:
        small.save(file, "WEBP", quality=85)
        return file.getvalue()
