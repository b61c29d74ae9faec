"""From a picture in any format that Pillow reads to an image of one size."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vaelab.dataset.own.source import Example, Unreadable
from vaelab.errors import ArgumentError, check_choice, check_integer, one_line

FITS = ("crop", "pad", "stretch")
# no pictures, or read by a program that an image of somebody else should not start
NOT_READ = {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR"}
DEEP = ("I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of 16 bits a pixel, which it would cut at 255


@dataclass(frozen=True)
class Fit:
    """How pictures become images (C, size, size) uint8.

    Args:
        size: pixels of each side; None leaves pictures as large as they are.
        grey: one channel instead of three.
        fit: `crop` scales the shorter side to the size and cuts from the middle; `pad` scales the longer side and
            fills with black; `stretch` keeps no proportions.
        middle: pixels of each side of the square in the middle that is kept of a picture; None keeps all.

    Raises:
        ValueError: if one of them is none of these.
    """

    size: int | None
    grey: bool
    fit: str
    middle: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            check_integer("size", self.size, 1)
        if not isinstance(self.grey, bool):
            raise ArgumentError("grey", f"must be true or false, got {self.grey!r}")
        check_choice("fit", self.fit, FITS)
        if self.middle is not None:
            check_integer("middle", self.middle, 1)

    @property
    def identity(self) -> dict[str, object]:
        """All that an image depends on besides its picture."""
        return asdict(self)

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """The image (C, size, size) of a picture, upright, on white where it is transparent."""
        if self.size is not None and self.fit == "crop" and self.middle is None:
            # a JPEG is decoded to a size near this one, and not below it
            picture.draft("L" if self.grey else "RGB", (self.size, self.size))
        picture = ImageOps.exif_transpose(picture)
        if self.middle is not None:
            left, top = ((side - self.middle) // 2 for side in picture.size)
            picture = picture.crop((left, top, left + self.middle, top + self.middle))
        if picture.mode in DEEP:
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        elif picture.mode in ("I", "F"):
            raise ValueError(f"pixels of Pillow's mode {picture.mode} have no range; make them 8 or 16 bits wide")
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert("L" if self.grey else "RGB")
        pixels = np.asarray(picture if self.size is None else self._sized(picture, self.size))
        return pixels[None] if self.grey else pixels.transpose(2, 0, 1)

    def _sized(self, picture: Image.Image, size: int) -> Image.Image:
        if self.fit == "stretch":
            return picture.resize((size, size), Image.Resampling.LANCZOS)
        fitted = ImageOps.fit if self.fit == "crop" else ImageOps.pad
        return fitted(picture, (size, size), Image.Resampling.LANCZOS)


def formats() -> list[str]:
    """The names of all formats that are read."""
    Image.init()
    return sorted(Image.OPEN.keys() - NOT_READ)


def endings() -> set[str]:
    """What the names of pictures end with."""
    return {end for end, kind in Image.registered_extensions().items() if kind in formats()}


@contextmanager
def without_remarks() -> Iterator[None]:
    """Keep Pillow from remarking on odd pictures that it can read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def read_picture(source: Path | bytes, name: str, fit: Fit, label: int | None = None) -> Example | Unreadable:
    """A picture, a file or its bytes, as an example; one that is damaged, or too large to be one, is unreadable."""
    try:
        if not isinstance(source, bytes) and not source.is_file():  # a pipe would wait for its other end
            return Unreadable(name, "it is no file")
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats()) as picture:
            width, height = picture.size
            if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
                return Unreadable(name, f"{width:,} x {height:,} pixels are more than Pillow takes for a picture")
            return Example(fit(picture), label)
    except UnidentifiedImageError:
        return Unreadable(name, "no picture that Pillow knows")
    except Exception as error:  # decoders raise what they like
        return Unreadable(name, one_line(error, 100))
