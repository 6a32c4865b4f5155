"""The built-in descriptor finds copies and tells other images apart."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from scanner.evidence.index.descriptor import DIMENSION
from scanner.evidence.index.embedders import BUILT_IN_MATCH, make_embedder
from tests.evidence.index.pictures import encoded, picture


def vectors(*files: bytes) -> np.ndarray:
    embedder = make_embedder(None)
    return embedder.vectors([embedder.decode(file) for file in files])


def saved(image: Image.Image, form: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


@pytest.mark.parametrize("number", range(4))
def test_copies_match_whatever_their_size_and_compression(number: int) -> None:
    image = picture(number, 256)
    copies = [
        saved(image.resize((80, 80), Image.Resampling.LANCZOS), "PNG"),
        saved(image, "JPEG", quality=30),
        saved(image.filter(ImageFilter.GaussianBlur(4)), "WEBP"),
    ]
    found = vectors(saved(image, "PNG"), *copies)
    assert (found[1:] @ found[0] > BUILT_IN_MATCH).all()


def test_other_images_do_not_match() -> None:
    found = vectors(*(encoded(number) for number in range(40)))
    others = (found @ found.T)[~np.eye(40, dtype=bool)]
    assert others.max() < BUILT_IN_MATCH


def test_vectors_are_units_and_those_of_flat_images_are_zero() -> None:
    found = vectors(encoded(1), saved(Image.new("RGB", (9, 5), "red"), "PNG"))
    assert found.shape == (2, DIMENSION)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 0], abs=1e-3)
