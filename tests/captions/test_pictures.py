from PIL import Image

from scanner.captions.pictures import fitted


def test_a_training_image_is_cut_to_the_middle_as_for_training() -> None:
    wide = Image.new("RGB", (96, 32), "black")
    wide.paste("white", (32, 0, 64, 32))
    assert fitted(wide, 32, 32).getcolors() == [(32 * 32, (255, 255, 255))]
    assert fitted(wide, 64, 48).size == (48, 64)
