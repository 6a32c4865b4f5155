from PIL import Image

from scanner.captions.images import resize_and_crop


def test_a_training_image_is_scaled_and_center_cropped() -> None:
    wide = Image.new("RGB", (96, 32), "black")
    wide.paste("white", (32, 0, 64, 32))
    assert resize_and_crop(wide, 32, 32).getcolors() == [(32 * 32, (255, 255, 255))]
    assert resize_and_crop(wide, 64, 48).size == (48, 64)
