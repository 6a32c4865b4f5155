"""Small pictures of verified captions: what the model draws, what it was trained on."""

import base64
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from scanner.captions.pictures import NotAPicture, open_picture
from scanner.evidence.verify.references import References, Sample
from scanner.storage import Store, is_transient, open_input

SIDE = 72
SEEDS = 2
Row = dict[str, Any]


def pictures(store: Store, rows: Sequence[Row], most: int) -> dict[str, dict[str, Any]]:
    """By caption id, ``drawn`` (a data URL a seed) and ``trained`` (one, or None).

    Of the first ``most`` rows that have a verdict, so that the page stays small.
    """
    chosen = [row for row in rows if row["images"]][:most]
    samples: list[Sample] = [
        {"source": row["reference_source"], "row": row["reference_row"]}
        for row in chosen
        if row["reference_source"] is not None
    ]
    trained = iter(References(None, None).images(samples))
    found = {}
    for row in chosen:
        image = next(trained, None) if row["reference_source"] is not None else None
        drawn = [_open(store, name) for name in row["images"][:SEEDS]]
        found[row["caption_id"]] = {
            "drawn": [_data_url(one) for one in drawn if one],
            "trained": _data_url(image) if image else None,
        }
    return found


def _open(store: Store, name: str) -> Image.Image | None:
    """A picture that verify kept in the run, or elsewhere by its URL, if it is still there."""
    try:
        data = open_input(name).read() if "://" in name else store.read(name)
        return open_picture(data)
    except NotAPicture:
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
