"""Pictures of every kind become images of one size; what is none is named and left out."""

import io

import numpy as np
import pytest
from PIL import Image

from vaelab.dataset.own.pictures import Fit, read_picture
from vaelab.dataset.own.source import Example, Unreadable


def halves(width=80, height=40, mode="RGB", left="red", right="blue"):
    """A picture of two colours, the left half and the right half."""
    picture = Image.new(mode, (width, height), right)
    picture.paste(Image.new(mode, (width // 2, height), left), (0, 0))
    return picture


def saved(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def image_of(content, **options):
    found = read_picture(content, "it", Fit(**{"size": 16, "grey": False, "fit": "crop", **options}))
    assert isinstance(found, Example), found
    assert found.image.dtype == np.uint8
    return found.image


def near(image, place, colour):
    return np.abs(image[(slice(None), *place)].astype(int) - colour).max() < 12


RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_every_format_gives_the_same_image(kind):
    image = image_of(saved(halves(), kind))
    assert image.shape == (3, 16, 16)
    assert near(image, (8, 2), RED)
    assert near(image, (8, 13), BLUE)


def test_crop_cuts_the_longer_sides_pad_adds_black_stretch_keeps_all():
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste(Image.new("RGB", (30, 30), "blue"), (30, 0))  # the middle third
    content = saved(wide)
    assert near(image_of(content), (8, 1), BLUE)
    padded = image_of(content, fit="pad")
    assert near(padded, (0, 8), BLACK)
    assert near(padded, (8, 1), RED)
    stretched = image_of(content, fit="stretch")
    assert near(stretched, (0, 1), RED)
    assert near(stretched, (0, 8), BLUE)


def test_the_middle_is_kept_before_a_picture_is_scaled():
    framed = Image.new("RGB", (178, 218), "red")
    framed.paste(Image.new("RGB", (148, 148), "blue"), (15, 35))
    image = image_of(saved(framed), middle=148)
    assert near(image, (0, 0), BLUE)
    assert near(image, (15, 15), BLUE)


def test_a_photograph_that_lies_on_its_side_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image = image_of(saved(halves(64, 64), "JPEG", exif=exif))
    assert near(image, (1, 8), RED)
    assert near(image, (14, 8), BLUE)


def test_what_is_transparent_is_white():
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert (image_of(saved(picture)) == 255).all()
    palette = Image.new("P", (20, 20))
    assert (image_of(saved(palette, transparency=0)) == 255).all()


def test_grey_is_one_channel_and_16_bits_keep_their_levels():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    image = image_of(saved(Image.fromarray(np.tile(ramp, (256, 1)))), grey=True, size=256)
    assert image.shape == (1, 256, 256)
    assert np.abs(image[0, 0].astype(int) - np.arange(256)).max() <= 1


def test_without_a_size_a_picture_stays_as_large_as_it_is():
    assert image_of(saved(halves()), size=None).shape == (3, 40, 80)


def test_a_large_jpeg_is_the_same_as_a_large_png():
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(256, size=(12, 16, 3), dtype=np.uint8)).resize((1600, 1200), Image.BICUBIC)
    of_jpeg, of_png = (image_of(saved(picture, kind), size=64).astype(int) for kind in ("JPEG", "PNG"))
    assert np.abs(of_jpeg - of_png).mean() < 2


BOMB = saved(Image.new("1", (20_000, 20_000)))
WHOLE = saved(halves(400, 400), "JPEG")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no picture that Pillow knows"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (b"PK\3\4 a zip of pictures", "no picture that Pillow knows"),
        (BOMB, "decompression bomb"),
        (saved(Image.new("1", (10_000, 10_000))), "100,000,000 pixels are more|10,000 x 10,000 pixels are more"),
        (saved(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"), "mode F have no range"),
    ],
)
def test_what_is_no_picture_is_unreadable_with_its_reason(content, reason):
    found = read_picture(content, "bad.jpg", Fit(16, False, "crop"))
    assert isinstance(found, Unreadable)
    assert found.name == "bad.jpg"
    import re

    assert re.search(reason, found.reason), found.reason
    assert "\n" not in found.reason


@pytest.mark.parametrize(
    ("change", "said"),
    [({"size": 0}, "size must"), ({"grey": "yes"}, "grey must"), ({"fit": "corp"}, "did you mean 'crop'")],
)
def test_settings_that_are_none_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Fit(**{"size": 16, "grey": False, "fit": "crop", **change})
