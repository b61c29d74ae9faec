"""Pictures have the right size and content, curves the right points."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.fakes import pixels, small_split
from helpers.figures import lines, saved_figures
from vaelab.evaluation.figures import (
    GAP,
    MIN_TILE,
    grid,
    save_curves,
    save_grid,
    save_posterior_means,
    side_by_side,
)
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


def test_values_beyond_black_and_white_are_cut():
    images = torch.tensor([-0.1, 1.1]).view(2, 1, 1, 1).expand(-1, 1, 8, 8)
    assert [int(tile(grid(images, 2), (1, 8, 8), 0, column).max()) for column in (0, 1)] == [0, 255]


def test_gaps_and_empty_places_of_a_grid_are_white():
    canvas = grid(torch.zeros(3, 1, 8, 8), 2)
    assert (tile(canvas, (1, 8, 8), 1, 1) == 255).all()
    assert int((canvas == 0).all(-1).sum()) == 3 * MIN_TILE**2


def test_a_grid_file_holds_the_grid(tmp_path):
    images = random_images(6, channels=3)
    (tmp_path / "grid.tmp").write_text("somebody else's")
    save_grid(tmp_path / "grid.png", images, 3)
    assert np.array_equal(pixels(tmp_path / "grid.png"), grid(images, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "grid.tmp"]


@pytest.mark.parametrize("title", ["short", "a title that is much wider than the picture below it"])
def test_a_title_stands_whole_above_the_grid(title, tmp_path):
    images = random_images(2)
    save_grid(tmp_path / "grid.png", images, 2, title)
    picture, below = pixels(tmp_path / "grid.png"), grid(images, 2)
    height, width, _ = below.shape
    assert np.array_equal(picture[-height:, :width], below)
    head = picture[:-height]
    assert (head < 128).any()
    assert (head[[0, -1]] == 255).all()
    assert (head[:, [0, -1]] == 255).all()


@pytest.mark.parametrize("count", [8, 16, 24, 5, 10])
def test_every_original_stands_above_its_reconstruction(count):
    originals, reconstructions = random_images(2 * count).split(count)
    canvas = grid(side_by_side(originals, reconstructions, 8), 8)
    for index in range(count):
        row, column = divmod(index, 8)
        for below, image in enumerate((originals[index], reconstructions[index])):
            assert np.array_equal(tile(canvas, (1, 8, 8), 2 * row + below, column), as_pixels(image))


# Curves


@pytest.fixture
def drawn(monkeypatch):
    return saved_figures(monkeypatch)


def row(step, epoch, split, value):
    return {"step": step, "epoch": epoch, **{f"{split}/{name}": value for name in ("elbo", "reconstruction", "kl")}}


ROWS = [
    row(10, 0.5, "train", -400.0),
    row(20, 1.0, "train", -200.0),
    row(20, 1.0, "val", -250.0),
    row(30, 1.5, "train", -100.0),
    row(35, 1.75, "train", -40.0),  # the run ended within its second epoch
    row(35, 1.75, "val", -90.0),
]


def test_training_curves_are_means_over_an_epoch_and_validation_is_as_logged(drawn, tmp_path):
    save_curves(tmp_path / "curves.png", ROWS, "some dataset")
    assert pixels(tmp_path / "curves.png").std() > 0
    (figure,) = drawn
    assert len(figure.axes) == 3
    for axis in figure.axes:
        assert lines(axis) == {
            "train": [(1.0, -300.0), (1.75, -80.0)],
            "validation": [(1.0, -250.0), (1.75, -90.0)],
        }
        assert axis.get_legend() is not None


def test_without_validation_only_training_is_drawn(drawn, tmp_path):
    save_curves(tmp_path / "curves.png", [row for row in ROWS if "train/elbo" in row], "some dataset")
    assert [set(lines(axis)) for axis in drawn[0].axes] == [{"train"}] * 3


def test_without_rows_empty_axes_are_drawn(drawn, tmp_path):
    save_curves(tmp_path / "curves.png", [], "some dataset")
    assert pixels(tmp_path / "curves.png").size
    assert [lines(axis) for axis in drawn[0].axes] == [{}] * 3


def test_posterior_means_are_drawn_where_they_are_in_the_colour_of_their_label(drawn, tmp_path):
    means = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    labels = small_split(40).labels % 4
    save_posterior_means(tmp_path / "means.png", means, labels, "some dataset")
    assert pixels(tmp_path / "means.png").std() > 0
    (axis,) = drawn[0].axes
    (points,) = axis.collections
    assert np.allclose(points.get_offsets(), means)
    assert np.array_equal(points.get_array(), labels)
    assert len(axis.get_legend().get_texts()) == 4


def test_posterior_means_without_labels_are_drawn_in_one_colour(drawn, tmp_path):
    means = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    save_posterior_means(tmp_path / "means.png", means, None, "some dataset")
    (axis,) = drawn[0].axes
    (points,) = axis.collections
    assert np.allclose(points.get_offsets(), means)
    assert len(points.get_facecolors()) == 1
    assert axis.get_legend() is None


def test_levels_survive_the_way_from_a_dataset_to_a_picture():
    images = small_split(4).images
    canvas = grid(unit_interval(images), 4)
    assert np.array_equal(tile(canvas, (1, 8, 8), 0, 3)[..., 0], images[3, 0].numpy())


def test_images_of_two_channels_are_drawn_by_their_brightness():
    images = torch.stack([torch.zeros(2, 8, 8), torch.tensor([0.0, 1.0]).view(2, 1, 1).expand(2, 8, 8)])
    assert [int(tile(grid(images, 2), (1, 8, 8), 0, column).max()) for column in (0, 1)] == [0, 128]


def test_a_picture_replaces_a_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for name in ("grid.png", "curves.png"):
        (tmp_path / name).symlink_to("mine")
    content = save_grid(tmp_path / "grid.png", random_images(2), 2)
    save_curves(tmp_path / "curves.png", ROWS, "some dataset")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "grid.png").read_bytes() == content
    assert pixels(tmp_path / "curves.png").std() > 0


def test_matplotlib_reads_no_settings_of_the_folder_that_one_is_in(tmp_path):
    (tmp_path / "matplotlibrc").write_text("savefig.dpi: 3000\n")
    code = (
        "from vaelab.evaluation.figures import subplots; subplots(1, (1, 1)); import matplotlib; "
        "print(matplotlib.rcParams['savefig.dpi'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "figure\n", done.stderr
