"""Flows as priors."""

import pytest
import torch
from torch.func import jacrev

from helpers.combinations import normals
from vaelab.prior.flow import KINDS, FlowPrior

kinds = pytest.mark.parametrize("kind", KINDS)
dims = pytest.mark.parametrize("latent_dim", [1, 2, 5])


def flow_of(kind, latent_dim, transforms=3):
    """A flow whose networks are moved from where they start, and its density."""
    torch.manual_seed(0)
    prior = FlowPrior(latent_dim, kind, transforms, [16])
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return prior.double()


@kinds
@dims
@pytest.mark.parametrize("inverse", [False, True])
def test_the_log_determinant_is_that_of_the_jacobian(kind, latent_dim, inverse):
    bijection, values = flow_of(kind, latent_dim).bijection, normals(6, latent_dim).double()
    jacobian = torch.stack([jacrev(lambda row: bijection(row, inverse)[0])(row) for row in values])
    torch.testing.assert_close(bijection(values, inverse)[1], torch.linalg.slogdet(jacobian).logabsdet)


@kinds
@dims
def test_the_inverse_is_one(kind, latent_dim):
    bijection, z = flow_of(kind, latent_dim).bijection, normals(6, latent_dim).double()
    eps, log_det = bijection(z, False)
    again, back = bijection(eps, True)
    assert not torch.isclose(eps, z).all(-1).any()
    torch.testing.assert_close(again, z)
    torch.testing.assert_close(back, -log_det)


@kinds
def test_each_dimension_is_changed_and_depends_on_others(kind):
    bijection = flow_of(kind, 4).bijection
    jacobian = jacrev(lambda row: bijection(row, False)[0])(normals(4).double())
    assert ((jacobian != 0).sum(0) > 1).all()
    assert ((jacobian != 0).sum(1) > 1).all()


@kinds
def test_it_starts_near_a_standard_normal_and_learns_a_density_that_is_none(kind):
    torch.manual_seed(0)
    prior = FlowPrior(2, kind, 2, [32])
    optimizer = torch.optim.Adam(prior.parameters(), 0.01)
    z = normals(300, 2)
    z = torch.stack([z[:, 0], 0.5 * z[:, 0].square() + 0.2 * z[:, 1]], -1)  # a parabola
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        losses.append(-prior(None).log_prob(z).mean())
        losses[-1].backward()
        optimizer.step()
    covariance = z.T.cov()
    normal = torch.distributions.MultivariateNormal(z.mean(0), covariance).log_prob(z).mean()
    assert losses[-1] < -normal - 0.3  # less than that of any normal density
    assert losses[-1] < losses[0]


def test_arguments_that_make_no_flow_are_refused():
    with pytest.raises(ValueError, match="kind must be one of realnvp, nsf, got 'maf'"):
        FlowPrior(2, "maf", 3, [16])
    with pytest.raises(ValueError, match="transforms must be an integer of at least 1, got 0"):
        FlowPrior(2, "nsf", 0, [16])
    with pytest.raises(ValueError, match="hidden must be an integer of at least 1, got 0"):
        FlowPrior(2, "nsf", 3, [16, 0])
    with pytest.raises(ValueError, match="hidden must be a list of integers of at least 1, got 16"):
        FlowPrior(2, "nsf", 3, 16)


@kinds
def test_of_one_dimension_it_starts_near_a_standard_normal(kind):
    torch.manual_seed(0)
    z = torch.linspace(-3, 3, 101)[:, None]
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).squeeze()
    assert (FlowPrior(1, kind, 4, [16])(None).log_prob(z) - normal).abs().max() < 0.5
