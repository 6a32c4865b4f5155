"""A data set's pictures, ready to train on."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scanner.errors import UserError
from scanner.mitigation.pictures import SkippedPicture, decode, read_pictures


def test_pictures_of_any_shape_are_cut_to_size_and_bad_rows_passed_over(tmp_path: Path) -> None:
    wide = Image.new("RGB", (64, 16), "red")
    wide.paste("blue", (24, 0, 40, 16))
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": "a.png"}
    table = pa.table(
        {"caption": ["one", None, "two", "three"], "image": [image, image, None, image]}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    pictures = read_pictures(str(tmp_path / "x.parquet"))
    assert (pictures.keys, pictures.captions) == (["0", "3"], ["one", "three"])
    assert (len(pictures.png), pictures.number) == (1, [0, 0])
    assert [one.reason for one in pictures.skipped] == ["no caption", "no bytes of a picture"]
    (cut,) = decode(pictures.png, 8, 8)
    middle = cut[:, 2:6, 2:6].mean((1, 2)).tolist()
    assert middle == pytest.approx([-1, -1, 1], abs=0.1), "the middle is blue"
    pq.write_table(table.drop_columns(["image"]), tmp_path / "y.parquet")
    with pytest.raises(UserError, match="--image-column"):
        read_pictures(str(tmp_path / "y.parquet"))


def test_a_picture_that_is_none_and_one_that_is_a_bomb_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match="picture 0 of the data set cannot be read"):
        decode([b"no picture"], 8, 8)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"picture 0 of the data set cannot be read.*pixels"):
        decode([buffer.getvalue()], 8, 8)


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 50).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_that_cannot_be_read_are_skipped_by_key(tmp_path: Path) -> None:
    good = _png()
    broken = good[:60] + b"damage" + good[66:]
    images = [good, good[:-300], b"<html>404</html>", b"", None, broken, good[:-300], good]
    table = pa.table({"key": list("abcdefgh"), "caption": ["a cat"] * 8, "image": images})
    pq.write_table(table, tmp_path / "x.parquet")
    pictures = read_pictures(str(tmp_path / "x.parquet"))
    assert pictures.keys == ["a", "h"]
    assert [(one.row, one.key) for one in pictures.skipped] == list(enumerate("bcdefg", start=1))
    reasons = [one.reason for one in pictures.skipped]
    assert reasons[0].startswith("a damaged image: image file is truncated")
    assert reasons[1:4] == ["not an image", "no bytes of a picture", "no bytes of a picture"]
    assert reasons[4].startswith("a damaged image: ")
    assert reasons[5] == reasons[0]
    assert pictures.skipped[1] == SkippedPicture(2, "c", "not an image")


def test_a_data_set_without_a_usable_picture_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"caption": ["a", "b"], "image": [b"no", None]}), path)
    with pytest.raises(UserError, match=r"no row has both .*row 0: not an image; row 1: no bytes"):
        read_pictures(str(path))
    path.write_text("caption\na\n")
    with pytest.raises(UserError, match="cannot be read as parquet"):
        read_pictures(str(path))
    with pytest.raises(UserError, match="no such file"):
        read_pictures(str(tmp_path / "none.parquet"))
