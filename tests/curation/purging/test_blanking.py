"""A verdict that stays names no purged image of an index, nor its captions."""

import pyarrow as pa
import pytest

from scanner.curation.purging.blanking import blanked
from scanner.curation.purging.targets import Targets
from scanner.run.verdicts import SOURCES

TARGETS = Targets(
    pa.table({"source": ["a.parquet"], "row": [7]}),
    pa.array(["gone"]),
    references=pa.array([], pa.string()),
    names=pa.array(["gone-key", "https://gone"]),
    keys=pa.array([], pa.string()),
    image_keys=pa.array([], pa.string()),
)
KEPT = {
    "source_match": "other", "source_keys": ["k-1", "b.parquet#7"], "source_similarities": [0.5, 1],
    "source_image_key": "https://x", "source_file": "a.parquet", "source_row": 8,
    "source_caption_ids": ["one", "two"], "reason": "SSIM 0.5; nearest training image k-1: cosine",
}  # fmt: skip
LISTS = {"source_keys": None, "source_similarities": None}


def blank(row: dict) -> dict:
    schema = pa.schema([*SOURCES, ("reason", pa.string())])
    (found,) = blanked(pa.Table.from_pylist([row], schema), "verdicts/tables", TARGETS).to_pylist()
    return found


@pytest.mark.parametrize(
    "nearest",
    [
        {"source_row": 7},
        {"source_image_key": "https://gone"},
        {"source_keys": ["gone-key"]},
        {"source_keys": ["a.parquet#7", "k-1"]},
    ],
    ids=str,
)
def test_a_nearest_image_that_is_purged_is_blanked(nearest: dict) -> None:
    row = KEPT | nearest | {"reason": "SSIM 0.5; nearest training image gone-\nkey: cosine"}
    assert blank(row) == dict.fromkeys(SOURCES.names) | {"reason": "SSIM 0.5"}


def test_further_images_and_captions_are_blanked_alone() -> None:
    assert blank(KEPT) == KEPT
    assert blank(KEPT | {"source_keys": ["k-1", "gone-key"]}) == KEPT | LISTS
    ids = {"source_caption_ids": ["one", "gone"]}
    assert blank(KEPT | ids) == KEPT | {"source_caption_ids": None}
    nothing = dict.fromkeys(KEPT)
    assert blank(nothing) == nothing
