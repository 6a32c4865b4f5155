"""Images on a page are as large as they fit."""

import base64
import io
import random

import pytest
from PIL import Image

from scanner.report.image_sizes import SIDES, encode, fit_side, page_bytes
from scanner.report.thumbnails import CaptionImages, fit_thumbnails
from tests.report.verified_runs import picture


def images(count: int, size: tuple[int, int] = (600, 300)) -> list[bytes]:
    choose = random.Random(0)
    found = []
    for _ in range(count):
        with Image.open(io.BytesIO(picture(choose, size))) as one:
            found.append(encode(one))
    return found


def size_of(encoded: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(encoded)) as image:
        return image.size


@pytest.mark.slow
def test_the_largest_side_that_fits_is_taken() -> None:
    given = images(12)
    whole = sum(map(page_bytes, given))
    assert fit_side(given, whole) == (SIDES[0], given)
    side, fitted = fit_side(given, whole // 3)
    assert SIDES[-1] < side < SIDES[0]
    assert sum(map(page_bytes, fitted)) <= whole // 3
    assert {size_of(one) for one in fitted} == {(side, side // 2)}
    larger = SIDES[SIDES.index(side) - 1]
    enlarged, _ = fit_side(given, whole // 3 + 1_000_000)
    assert enlarged >= larger


def test_small_images_are_left_as_they_are() -> None:
    given = images(3, (64, 64))
    assert fit_side(given, 10_000_000)[1] == given
    assert [size_of(one) for one in fit_side(given, 1)[1]] == [(64, 64)] * 3


@pytest.mark.slow
def test_the_last_captions_lose_their_images_first() -> None:
    given = images(9)
    rows = {
        f"c{number}": CaptionImages(
            {0: given[number], 2: given[number + 1]}, given[number + 2], None
        )
        for number in range(0, 9, 3)
    }
    verified = [{"caption_id": name, "images": ["x"]} for name in [*rows, "unread"]]
    whole = fit_thumbnails(rows, verified, 10_000_000)
    assert (list(whole.captions), whole.side, whole.left_out) == (list(rows), SIDES[0], 1)
    data = whole.captions["c3"].generated[2].removeprefix("data:image/webp;base64,")
    assert base64.b64decode(data) == given[4]
    smallest = sum(map(page_bytes, fit_side(given, 1)[1]))
    part = fit_thumbnails(rows, verified, smallest - 1)
    assert (list(part.captions), part.side, part.left_out) == (["c0", "c3"], SIDES[-1], 2)
    assert fit_thumbnails(rows, verified, 0).captions == {}
    assert fit_thumbnails({}, [], 0).left_out == 0
