"""From an array of one of the usual forms to an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vaelab.errors import ArgumentError, UserError, is_number

MOST_CHANNELS = 4


@dataclass(frozen=True)
class Levels:
    """Makes images of arrays.

    Args:
        float_range: black and white of arrays of floats.

    Raises:
        ValueError: if these are not two numbers, the smaller first.
    """

    float_range: Sequence[float]

    def __post_init__(self) -> None:
        given = self.float_range
        if not (isinstance(given, Sequence) and len(given) == 2 and all(map(is_number, given)) and given[0] < given[1]):
            raise ArgumentError("float_range", f"must be two numbers, black and white, such as [0, 1], got {given!r}")

    def __call__(self, pixels: np.ndarray, of: str) -> np.ndarray:
        """The image (C, H, W) uint8 of (H, W), (H, W, C) or (C, H, W), uint8, bool or floats.

        Raises:
            UserError: which names what it is `of`, if it is none of these.
        """
        return self._in_levels(_channels_first(pixels, of), of)

    def _in_levels(self, pixels: np.ndarray, of: str) -> np.ndarray:
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype == bool:
            return pixels.astype(np.uint8) * 255
        if pixels.dtype.kind != "f":
            raise UserError(f"the images of {of} must be uint8, bool or floats, got {pixels.dtype}; convert them")
        black, white = self.float_range
        if not (black <= pixels.min() and pixels.max() <= white):  # nor where one is no number
            raise UserError(
                f"the floats of {of} must be from {black:g} to {white:g}, got {pixels.min():g} to {pixels.max():g}; "
                f"state their range, as in dataset.float_range=[-1,1]"
            )
        return ((pixels - black) * (255 / (white - black))).round().astype(np.uint8)


def _channels_first(pixels: np.ndarray, of: str) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels[None]
    first, last = (pixels.ndim == 3 and pixels.shape[axis] <= MOST_CHANNELS for axis in (0, -1))
    if first == last:  # both could be the channels, or neither
        raise UserError(
            f"an image of {of} must be (H, W), (H, W, C) or (C, H, W) with 1 to {MOST_CHANNELS} channels C beside more "
            f"pixels, got {pixels.shape}; transpose or cut it"
        )
    return pixels if first else pixels.transpose(2, 0, 1)
