"""Sprites: 12,000 small grey images of one shape each, whose causes are all known; made here, no download.

One image for each combination of five factors, as dSprites has them (Matthey et al., 2017), for measures of
disentanglement.
"""

import math

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset, Factor, Split
from vaelab.ops import generator

SIZE = 16  # pixels along each side
TEST_SIZE = 2000
FACTORS = (
    Factor("shape", 3, ordered=False),
    Factor("scale", 4),
    Factor("orientation", 10),
    Factor("x", 10),
    Factor("y", 10),
)
SMALLEST, LARGEST = 2.2, 4.0  # pixels from the centre to the tip
MARGIN = 5.75  # pixels from the border to the nearest centre, so that no shape is cut


def load(val_size: int, binarize: str) -> Dataset:
    """Ellipses, rectangles and triangles, 16 x 16, in all scales, orientations and places; the labels are the shapes.

    10,000 images to train on and 2,000 to test on, a fixed choice.
    """
    factors = torch.cartesian_prod(*(torch.arange(factor.count) for factor in FACTORS))  # (N, 5)
    images = render(factors)
    order = torch.randperm(len(images), generator=generator(0, "sprites split"))
    chosen = {"train": order[TEST_SIZE:], "test": order[:TEST_SIZE]}
    whole = Split(images, factors[:, 0].to(torch.uint8), factors)
    return Dataset("sprites", lambda part: whole.at(chosen[part]), val_size, binarize, factors=FACTORS)


def render(factors: Tensor) -> Tensor:
    """Images of factors (N, 5), white on black with smooth edges, (N, 1, SIZE, SIZE) uint8."""
    shape, scale, orientation, x, y = (column.view(-1, 1, 1) for column in factors.unbind(1))
    radius = SMALLEST + (LARGEST - SMALLEST) * scale / (FACTORS[1].count - 1)
    angle = math.pi * orientation / FACTORS[2].count  # after half a turn an ellipse is itself
    place = (SIZE - 2 * MARGIN) / (FACTORS[3].count - 1)
    pixel = torch.arange(SIZE) + 0.5
    across, down = pixel.view(1, 1, -1) - MARGIN - place * x, pixel.view(1, -1, 1) - MARGIN - place * y
    u = (torch.cos(angle) * across + torch.sin(angle) * down) / radius  # along the shape's axis, the tip at 1
    v = (torch.cos(angle) * down - torch.sin(angle) * across) / radius
    distances = torch.stack([_ellipse(u, v), _rectangle(u, v), _triangle(u, v)])  # (3, N, SIZE, SIZE)
    distance = radius * distances.gather(0, shape.expand_as(u).unsqueeze(0))[0]
    return (0.5 - distance).clamp(0, 1).mul(255).round().to(torch.uint8).unsqueeze(1)


# Distance from the edge, negative inside; half as wide as long.


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    return 0.5 * ((u.square() + 4 * v.square()).sqrt() - 1)


def _rectangle(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs() - 1, v.abs() - 0.5)


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    """One tip at u = 1, the two others at u = -0.7 and v = ±0.7."""
    slanted = (0.7 * (u - 1) + 1.7 * v.abs()) / math.hypot(0.7, 1.7)
    return torch.maximum(slanted, -u - 0.7)
