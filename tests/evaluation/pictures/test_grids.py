"""Grids have the right size, and every image, label and title at its place."""

import numpy as np
import pytest
import torch
from torchvision.utils import make_grid

from helpers.fakes import small_split
from vaelab.evaluation.pictures.grids import GAP, LINE, MARGIN, MIN_TILE, grid, labelled_grid, side_by_side
from vaelab.ops import unit_interval


def random_images(count, channels=1, height=8, width=8):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def tile(canvas, image_shape, row, column):
    """The tile in that row and column of a grid, shrunk to the size of its image (H, W, 3)."""
    _, height, width = image_shape
    factor = -(-MIN_TILE // min(height, width))
    y, x = GAP + row * (height * factor + GAP), GAP + column * (width * factor + GAP)
    enlarged = canvas[y : y + height * factor, x : x + width * factor]
    shrunk = enlarged[::factor, ::factor]
    assert np.array_equal(enlarged, shrunk.repeat(factor, 0).repeat(factor, 1))
    return shrunk


def as_pixels(image):
    """An image (C, H, W) in [0, 1] as (H, W, 3) uint8."""
    return image.mul(255).round().byte().permute(1, 2, 0).expand(-1, -1, 3).numpy()


@pytest.mark.parametrize(
    ("count", "shape", "columns", "size"),
    [
        (16, (1, 8, 8), 4, (4 * 58 + 2, 4 * 58 + 2)),
        (10, (3, 8, 8), 4, (3 * 58 + 2, 4 * 58 + 2)),
        (5, (1, 28, 28), 5, (58 + 2, 5 * 58 + 2)),
        (3, (3, 32, 40), 2, (2 * 66 + 2, 2 * 82 + 2)),
        (2, (1, 64, 60), 3, (66 + 2, 2 * 62 + 2)),  # no wider than its images
    ],
)
def test_a_grid_has_the_right_size_and_every_image_at_its_place(count, shape, columns, size):
    images = random_images(count, *shape)
    canvas = grid(images, columns)
    assert canvas.shape == (*size, 3)
    assert canvas.dtype == np.uint8
    for index, image in enumerate(images):
        assert np.array_equal(tile(canvas, shape, *divmod(index, columns)), as_pixels(image))


@pytest.mark.parametrize(("count", "columns"), [(5, 3), (2, 8), (6, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_is_that_of_torchvision(count, columns, channels):
    images = torch.rand(count, channels, MIN_TILE, MIN_TILE + 3)
    expected = make_grid(images, nrow=columns, padding=GAP, pad_value=1.0).mul(255).round().byte()
    assert np.array_equal(grid(images, columns), expected.permute(1, 2, 0).numpy())


def test_values_beyond_black_and_white_are_cut():
    images = torch.tensor([-0.1, 1.1]).view(2, 1, 1, 1).expand(-1, 1, 8, 8)
    assert [int(tile(grid(images, 2), (1, 8, 8), 0, column).max()) for column in (0, 1)] == [0, 255]


def test_gaps_and_empty_places_of_a_grid_are_white():
    canvas = grid(torch.zeros(3, 1, 8, 8), 2)
    assert (tile(canvas, (1, 8, 8), 1, 1) == 255).all()
    assert int((canvas == 0).all(-1).sum()) == 3 * MIN_TILE**2


@pytest.mark.parametrize("title", ["short", "a title that is much wider than the picture below it"])
def test_a_title_stands_whole_above_the_grid(title):
    images = random_images(2)
    picture, below = np.asarray(labelled_grid(images, 2, title)), grid(images, 2)
    height, width, _ = below.shape
    assert np.array_equal(picture[-height:, :width], below)
    head = picture[:-height]
    assert (head < 128).any()
    assert (head[[0, -1]] == 255).all()
    assert (head[:, [0, -1]] == 255).all()


def test_a_long_title_is_in_lines_that_are_no_wider_than_the_grid():
    images = random_images(16)
    one, several = (labelled_grid(images, 8, "some words of a title " * count) for count in (1, 10))
    assert one.width == several.width == grid(images, 8).shape[1]
    assert several.height > one.height + 2 * LINE


def test_rows_and_columns_have_their_labels_beside_them():
    images = random_images(6)
    tiles = grid(images, 3)
    labelled = np.asarray(labelled_grid(images, 3, "", ["", "of two\nlines"], ["", "", "head"]))
    height, width, _ = tiles.shape
    left, top = labelled.shape[1] - width, labelled.shape[0] - height
    assert np.array_equal(labelled[top:, left:], tiles)
    rows, heads = labelled[top:, :left, 0], labelled[:top, left:, 0]
    assert (labelled[:top, :left] == 255).all()
    assert (rows[: height // 2] == 255).all()  # the label of the first row is empty
    assert (rows[height // 2 :] < 128).any()
    assert (rows[:, [0, -MARGIN // 2]] == 255).all()
    assert (heads[:, : width * 2 // 3] == 255).all()
    assert (heads[:, width * 2 // 3 :] < 128).any()


def test_a_label_is_at_the_middle_of_its_row():
    rows = np.asarray(labelled_grid(random_images(5), 1, "", ["", "", "o", "", ""]))[:, :-60, 0]
    (places,) = np.nonzero((rows < 128).any(1))
    assert abs(places.mean() - (GAP + 2 * (MIN_TILE + GAP) + MIN_TILE / 2)) < 5


@pytest.mark.parametrize("count", [8, 16, 24, 5, 10])
def test_every_original_stands_above_its_reconstruction(count):
    originals, reconstructions = random_images(2 * count).split(count)
    canvas = grid(side_by_side(originals, reconstructions, 8), 8)
    for index in range(count):
        row, column = divmod(index, 8)
        for below, image in enumerate((originals[index], reconstructions[index])):
            assert np.array_equal(tile(canvas, (1, 8, 8), 2 * row + below, column), as_pixels(image))


def test_levels_survive_the_way_from_a_dataset_to_a_picture():
    images = small_split(4).images
    canvas = grid(unit_interval(images), 4)
    assert np.array_equal(tile(canvas, (1, 8, 8), 0, 3)[..., 0], images[3, 0].numpy())


def test_images_of_two_channels_are_drawn_by_their_brightness():
    images = torch.stack([torch.zeros(2, 8, 8), torch.tensor([0.0, 1.0]).view(2, 1, 1).expand(2, 8, 8)])
    assert [int(tile(grid(images, 2), (1, 8, 8), 0, column).max()) for column in (0, 1)] == [0, 128]
