"""The learned mixture of normals."""

import pytest
import torch

from helpers.combinations import normals
from vaelab.prior.mixture import MixturePrior

C, D = 200, 3


@pytest.fixture
def prior():
    torch.manual_seed(0)
    return MixturePrior(D, C)


def test_it_starts_about_as_wide_as_a_standard_normal_with_components_that_differ(prior):
    p = prior(None)
    z, _ = p.draw(normals(50_000, D))
    assert z.mean(0).abs().max() < 0.2
    torch.testing.assert_close(z.T.cov(), torch.eye(D), rtol=0.2, atol=0.2)
    distances = torch.cdist(prior.mean, prior.mean)[~torch.eye(C).bool()]
    assert distances.median() > 1
    assert (p.logits.softmax(0) == 1 / C).all()


def test_its_means_are_a_function_of_the_seed(prior):
    torch.manual_seed(0)
    assert torch.equal(MixturePrior(D, C).mean, prior.mean)
    assert not torch.equal(MixturePrior(D, C).mean, prior.mean)


def test_it_learns_a_density_of_two_clusters_and_their_weights():
    torch.manual_seed(0)
    prior = MixturePrior(2, 2)
    optimizer = torch.optim.Adam(prior.parameters(), 0.05)
    cluster = torch.arange(400) % 4 == 0  # a quarter
    z = torch.where(cluster[:, None], 2.0, -1.0) + 0.2 * normals(400, 2)
    for _ in range(200):
        optimizer.zero_grad()
        (-prior(None).log_prob(z).mean()).backward()
        optimizer.step()
    order = prior.mean[:, 0].argsort()
    torch.testing.assert_close(prior.mean[order], torch.tensor([[-1.0, -1], [2, 2]]), atol=0.1, rtol=0)
    torch.testing.assert_close(prior.logits.softmax(0)[order], torch.tensor([0.75, 0.25]), atol=0.03, rtol=0)
    torch.testing.assert_close((prior.log_var / 2).exp(), torch.full((2, 2), 0.2), atol=0.1, rtol=0)


def test_no_component_is_refused():
    with pytest.raises(ValueError, match="components must be an integer of at least 1, got 0"):
        MixturePrior(D, 0)
