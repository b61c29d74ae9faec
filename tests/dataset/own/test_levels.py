"""Arrays of the usual forms are the same image."""

import numpy as np
import pytest

from vaelab.dataset.own.levels import Levels
from vaelab.errors import UserError

COLOUR = np.random.default_rng(0).integers(256, size=(3, 8, 10), dtype=np.uint8)


@pytest.mark.parametrize(
    ("given", "image"),
    [
        (COLOUR, COLOUR),
        (COLOUR.transpose(1, 2, 0), COLOUR),
        (COLOUR[0], COLOUR[:1]),
        (COLOUR[..., None][0], COLOUR[:1]),
        (COLOUR / 255, COLOUR),
        ((COLOUR / 255).astype(np.float32), COLOUR),
        ((COLOUR / 255).astype(np.float16), COLOUR),
        (COLOUR > 127, np.where(COLOUR > 127, 255, 0)),
    ],
)
def test_every_form_gives_the_same_levels(given, image):
    found = Levels([0, 1])(given, "x.npy")
    assert found.dtype == np.uint8
    assert np.array_equal(found, image)


def test_floats_have_the_range_that_is_stated():
    assert Levels([-1, 1])(np.array([[-1.0, 0.0, 1.0]] * 5), "x").tolist() == [[[0, 128, 255]] * 5]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (COLOUR.astype(np.int64), "uint8, bool or floats, got int64"),
        (COLOUR / 200, "from 0 to 1, got 0 to 1.27"),
        (np.full((8, 8), np.nan), "from 0 to 1, got nan to nan"),
        (COLOUR[..., :3], r"got \(3, 8, 3\); transpose"),
        (COLOUR.repeat(3, 0), r"got \(9, 8, 10\); transpose"),
        (COLOUR[0, 0], r"got \(10,\)"),
    ],
)
def test_others_are_refused(given, said):
    with pytest.raises(UserError, match=said):
        Levels([0, 1])(given, "x.npy")


@pytest.mark.parametrize("float_range", [[1, 0], [0], "0 1", None, [0, "1"]])
def test_a_range_is_two_numbers(float_range):
    with pytest.raises(ValueError, match="float_range must be two numbers"):
        Levels(float_range)
