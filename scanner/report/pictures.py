"""Small pictures of verified captions: what the model draws, what it was trained on."""

import base64
import io
import logging
from collections.abc import Sequence
from typing import Any

from PIL import Image

from scanner.captions.images import NotAnImage, open_image
from scanner.evidence.verify.references import References, Sample
from scanner.run.directory import recorded_roots
from scanner.storage import Roots, Store, UnsafeName, is_transient, open_input

log = logging.getLogger("memscan.report")

SIDE = 72
SEEDS = 2
SHOWN = 3
Row = dict[str, Any]


def roots_of(record: dict[str, Any], input_roots: Sequence[str]) -> Roots:
    """Where a page may read pictures besides the run itself: local files below the scan's
    --captions, and whatever lies below ``input_roots``. A run's own URLs are not fetched."""
    local = [url for url in recorded_roots(record) if "://" not in url or url.startswith("file://")]
    return Roots.of(local, input_roots)


def pictures(
    store: Store, rows: Sequence[Row], most: int, roots: Roots
) -> dict[str, dict[str, Any]]:
    """By caption id, ``drawn`` (a data URL a seed) and ``trained`` (one, or None).

    Of the first ``most`` rows that have a verdict, so that the page stays small. Logs which
    pictures are refused: those outside of the run that are not below ``roots``.
    """
    chosen = [row for row in rows if row["images"]][:most]
    samples: list[Sample] = [
        {"source": row["reference_source"], "row": row["reference_row"]}
        for row in chosen
        if row["reference_source"] is not None
    ]
    references = References(None, None, roots)
    trained = iter(references.images(samples))
    found = {}
    refused: list[str] = []
    for row in chosen:
        image = next(trained, None) if row["reference_source"] is not None else None
        drawn = []
        for name in row["images"][:SEEDS]:
            if why := _why_not(store, name, roots):
                refused.append(f"{name!r} ({why})")
            else:
                drawn.append(_open(store, name))
        found[row["caption_id"]] = {
            "drawn": [_data_url(one) for one in drawn if one],
            "trained": _data_url(image) if image else None,
        }
    if refused:
        log.warning(f"{len(refused):,} pictures of verdicts refused, such as {refused[0]}")
    for why, count in references.problems.most_common(SHOWN):
        log.warning(f"{count:,} training images not shown: {why}")
    return found


def _why_not(store: Store, name: str, roots: Roots) -> str:
    """Why a verdict's picture is not read, "" if it is in the run, or where the user says."""
    if _is_elsewhere(name):
        return roots.why_refused(name) and "not in the run; --input-root allows its directory"
    try:
        store.location(name)
    except UnsafeName:
        return "not a name in the run"
    return ""


def _is_elsewhere(name: str) -> bool:
    """Whether verify --out put a picture outside of the run."""
    return "://" in name or name.startswith("/")


def _open(store: Store, name: str) -> Image.Image | None:
    """A picture that verify kept in the run, or elsewhere by its URL, if it is still there."""
    try:
        return open_image(open_input(name).read() if _is_elsewhere(name) else store.read(name))
    except NotAnImage:
        return None
    except OSError as error:
        if is_transient(error):
            raise
        return None


def _data_url(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    with io.BytesIO() as file:
        small.save(file, "WEBP", quality=80)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
