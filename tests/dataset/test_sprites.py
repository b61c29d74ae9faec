"""Sprites: every combination of factors once, and images that show them."""

import pytest
import torch

from vaelab.dataset.sprites import FACTORS, render


@pytest.fixture(scope="module")
def sprites():
    from vaelab.dataset.sprites import load

    return load(val_size=500, binarize="none")


def test_there_are_9500_500_and_2000_images_with_the_shapes_as_labels(sprites):
    assert sprites.image_shape == (1, 16, 16)
    splits = (sprites.train, sprites.val, sprites.test())
    assert [len(split.images) for split in splits] == [9500, 500, 2000]
    for split in splits:
        assert split.images.dtype == torch.uint8
        assert torch.equal(split.labels.long(), split.factors[:, 0])


def test_every_combination_of_factors_is_there_once_and_no_two_images_are_equal(sprites):
    splits = (sprites.train, sprites.val, sprites.test())
    factors = torch.cat([split.factors for split in splits])
    assert len(factors.unique(dim=0)) == 12_000
    assert factors.amax(0).tolist() == [factor.count - 1 for factor in FACTORS]
    assert len(torch.cat([split.images for split in splits]).flatten(1).unique(dim=0)) == 12_000


def test_factors_stay_with_their_images(sprites):
    for split in (sprites.val, sprites.test().at(torch.tensor([5, 3]))):
        assert torch.equal(render(split.factors), split.images)


def moments(images):
    """Mass, centre (x, y) and covariance of the white of images (N, 1, H, W)."""
    mass = images.double().squeeze(1) / 255
    total = mass.sum((1, 2))
    pixel = torch.arange(images.shape[-1]) + 0.5
    x, y = (mass * pixel).sum((1, 2)) / total, (mass * pixel[:, None]).sum((1, 2)) / total
    across, down = pixel - x[:, None, None], pixel[:, None] - y[:, None, None]
    xx, yy, xy = ((mass * part).sum((1, 2)) / total for part in (across**2, down**2, across * down))
    return total, torch.stack([x, y]), torch.stack([xx, yy, xy])


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_place_scale_and_orientation_are_those_of_the_white(shape):
    # 8 steps of half a pixel
    corners = torch.tensor([[shape, 3, 0, x, y] for x in (1, 9) for y in (1, 9)])
    _, (x, y), _ = moments(render(corners))
    assert torch.allclose(x[2:] - x[:2], torch.tensor(4.0, dtype=torch.double), atol=1e-3)
    assert torch.allclose(y[[1, 3]] - y[[0, 2]], torch.tensor(4.0, dtype=torch.double), atol=1e-3)

    scales = torch.tensor([[shape, scale, 0, 5, 5] for scale in range(4)])
    mass, _, _ = moments(render(scales))
    assert (mass.diff() > 3).all()
    assert mass[3] / mass[0] == pytest.approx((4.0 / 2.2) ** 2, rel=0.2)

    turned = torch.tensor([[shape, 3, orientation, 5, 5] for orientation in (0, 5)])
    _, _, (xx, yy, xy) = moments(render(turned))
    assert torch.allclose(xx, yy.flip(0), rtol=0.05)  # a quarter of a turn
    assert xy.abs().max() < 0.1


def test_no_shape_is_cut_by_the_border(sprites):
    images = sprites.train.images
    assert not any(images[..., edge, :].any() or images[..., :, edge].any() for edge in (0, -1))
