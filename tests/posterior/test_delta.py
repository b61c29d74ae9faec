"""The point posterior."""

import pytest
import torch

from helpers.combinations import normals
from helpers.small_training import assert_resumes_bit_for_bit
from vaelab.errors import UserError
from vaelab.posterior.delta import DeltaPosterior
from vaelab.run.build import Builder

B, F, D = 4, 6, 3


def test_it_is_a_linear_point_whatever_the_noise():
    posterior, h = DeltaPosterior(F, D), normals(B, F)
    z, log_q = posterior(h).draw(normals(5, B, D))
    assert log_q is None
    torch.testing.assert_close(z, (h @ posterior.head.weight.T + posterior.head.bias).expand(5, B, D))


def test_its_training_resumes_bit_for_bit(compose, tmp_path):
    config = compose(
        "dataset=digits", "logger=local", "model.hidden=[16]", "latent.dim=3", "posterior=delta", "objective=rae"
    )
    assert_resumes_bit_for_bit(lambda: Builder(config, None).setup(), 1, tmp_path)


def test_an_objective_that_needs_a_density_is_refused_in_one_sentence(compose):
    config = compose("dataset=digits", "logger=local", "model.hidden=[16]", "posterior=delta", "objective=elbo")
    with pytest.raises(UserError, match="Point has no density, which its KL needs; choose objective=rae"):
        Builder(config, None).setup()
