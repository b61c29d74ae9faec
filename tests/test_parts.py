"""What is derived of a forward pass: KL, importance weights and the terms that are reported."""

import pytest
import torch

from helpers.combinations import normals
from vaelab.distributions import Normal, StandardNormal
from vaelab.parts import Latent, Trace

K, B, D = 6, 4, 3


class WithoutClosedForm:
    """A standard normal density that no closed KL is known to."""

    def log_prob(self, z):
        return StandardNormal().log_prob(z)


def latent(p=None, q_shape=(B, D), samples=K, dims=D, seed=0):
    """A group of latents with a normal posterior."""
    q = Normal(normals(*q_shape[:-1], dims, seed=seed), normals(*q_shape[:-1], dims, seed=seed + 1))
    z, log_q = q.draw(normals(samples, B, dims, seed=seed + 2))
    return Latent(z, log_q, q, p or StandardNormal())


def trace(*latents, **losses):
    return Trace(normals(K, B, seed=9), latents, losses)


def test_the_kl_is_the_closed_form_where_there_is_one():
    group = latent()
    assert torch.equal(group.kl, group.q.kl(StandardNormal()))


def test_the_kl_of_a_posterior_of_each_sample_is_the_mean_over_samples():
    group = latent(q_shape=(K, B, D))
    assert group.kl.shape == (B, D)
    torch.testing.assert_close(group.kl, group.q.kl(StandardNormal()).mean(0))


def test_the_kl_without_a_closed_form_is_estimated_from_the_samples():
    group = latent(WithoutClosedForm(), samples=20_000)
    assert group.kl.shape == (B, 1)
    assert torch.equal(group.kl[:, 0], (group.log_q - StandardNormal().log_prob(group.z)).mean(0))
    torch.testing.assert_close(group.kl[:, 0], latent().kl.sum(-1), rtol=0.05, atol=0.05)


def test_groups_of_latents_are_summed():
    first, second = latent(), latent(WithoutClosedForm(), dims=2, seed=5)
    both, one, other = trace(first, second), trace(first), trace(second)
    torch.testing.assert_close(both.kl, one.kl + other.kl)
    torch.testing.assert_close(both.log_w - both.log_px, one.log_w + other.log_w - 2 * both.log_px)
    assert both.kl.shape == (B,)


def test_the_importance_weight_is_log_p_of_image_and_latent_over_log_q():
    group = latent()
    log_joint = trace().log_px + StandardNormal().log_prob(group.z)
    torch.testing.assert_close(trace(group).log_w, log_joint - group.log_q)


def test_terms_are_means_over_samples_and_images_and_the_elbo_their_difference():
    found = trace(latent())
    assert found.terms.keys() == {"elbo", "reconstruction", "kl"}
    torch.testing.assert_close(found.terms["reconstruction"], found.log_px.sum() / (K * B))
    torch.testing.assert_close(found.terms["kl"], found.kl.sum() / B)
    torch.testing.assert_close(found.terms["elbo"], found.terms["reconstruction"] - found.terms["kl"])


@pytest.mark.parametrize("has_density", [True, False])
def test_further_losses_are_terms_and_without_a_density_there_is_no_elbo(has_density):
    group = latent()
    found = trace(group if has_density else Latent(group.z, None, group.q, group.p), codebook=torch.tensor(0.5))
    assert found.has_density == has_density
    assert found.terms["codebook"] == 0.5
    assert found.terms.keys() == {"reconstruction", "codebook"} | ({"elbo", "kl"} if has_density else set())


def test_a_kl_is_computed_once():
    found = trace(latent())
    assert found.kl is found.kl
    assert found.terms is found.terms
