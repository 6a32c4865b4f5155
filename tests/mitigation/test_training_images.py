"""Reading captioned images to train on."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scanner.errors import UserError
from scanner.mitigation.training_images import SkippedSample, decode_images, read_training_images


def test_images_are_cropped_to_size_and_bad_rows_skipped(tmp_path: Path) -> None:
    wide = Image.new("RGB", (64, 16), "red")
    wide.paste("blue", (24, 0, 40, 16))
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": "a.png"}
    table = pa.table(
        {"caption": ["one", None, "two", "three"], "image": [image, image, None, image]}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    pictures = read_training_images(str(tmp_path / "x.parquet"))
    assert (pictures.keys, pictures.captions) == (["0", "3"], ["one", "three"])
    assert (len(pictures.files), pictures.index) == (1, [0, 0])
    assert [sample.reason for sample in pictures.skipped] == ["no caption", "no image"]
    (cropped,) = decode_images(pictures.files, 8, 8)
    middle = cropped[:, 2:6, 2:6].mean((1, 2)).tolist()
    assert middle == pytest.approx([-1, -1, 1], abs=0.1), "the middle is blue"
    pq.write_table(table.drop_columns(["image"]), tmp_path / "y.parquet")
    with pytest.raises(UserError, match="--image-column"):
        read_training_images(str(tmp_path / "y.parquet"))


def test_an_unreadable_or_oversized_image_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="image 0 of the data set cannot be read"):
        decode_images([b"no picture"], 8, 8)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"image 0 of the data set cannot be read.*pixels"):
        decode_images([buffer.getvalue()], 8, 8)


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 50).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def test_unreadable_images_are_skipped_by_key(tmp_path: Path) -> None:
    good = _png()
    broken = good[:60] + b"damage" + good[66:]
    images = [good, good[:-300], b"<html>404</html>", b"", None, broken, good[:-300], good]
    table = pa.table({"key": list("abcdefgh"), "caption": ["a cat"] * 8, "image": images})
    pq.write_table(table, tmp_path / "x.parquet")
    pictures = read_training_images(str(tmp_path / "x.parquet"))
    assert pictures.keys == ["a", "h"]
    skipped = [(sample.row, sample.key) for sample in pictures.skipped]
    assert skipped == list(enumerate("bcdefg", start=1))
    reasons = [sample.reason for sample in pictures.skipped]
    assert reasons[0].startswith("a damaged image: image file is truncated")
    assert reasons[1:4] == ["not an image", "no image", "no image"]
    assert reasons[4].startswith("a damaged image: ")
    assert reasons[5] == reasons[0]
    assert pictures.skipped[1] == SkippedSample(2, "c", "not an image")


def test_a_data_set_without_a_usable_image_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"caption": ["a", "b"], "image": [b"no", None]}), path)
    with pytest.raises(UserError, match=r"no row has both .*row 0: not an image; row 1: no image"):
        read_training_images(str(path))
    path.write_text("caption\na\n")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_training_images(str(path))
    with pytest.raises(UserError, match="no such file"):
        read_training_images(str(tmp_path / "none.parquet"))
