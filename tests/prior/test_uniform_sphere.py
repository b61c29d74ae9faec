"""The uniform prior on the sphere."""

import math

import pytest
import torch

from helpers.combinations import normals
from vaelab.errors import UserError
from vaelab.prior.uniform_sphere import UniformSpherePrior


@pytest.mark.parametrize(("latent_dim", "area"), [(2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)])
def test_its_density_is_one_over_the_area(latent_dim, area):
    p = UniformSpherePrior(latent_dim)(None)
    _, log_prob = p.draw(normals(5, 4, latent_dim))
    torch.testing.assert_close(log_prob, torch.full((5, 4), -math.log(area)))


def test_heights_of_samples_on_the_sphere_of_three_dimensions_are_uniform():
    z, _ = UniformSpherePrior(3)(None).draw(normals(20_000, 3))
    ranks = torch.linspace(0, 1, len(z))[:, None]
    assert ((z.sort(0).values + 1) / 2 - ranks).abs().max() < 1.63 / len(z) ** 0.5


def test_one_dimension_is_refused():
    with pytest.raises(UserError, match=r"needs latent\.dim of at least 2, got 1"):
        UniformSpherePrior(1)
