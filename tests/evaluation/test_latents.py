"""Active units, KL by dimension or group, and codes, of models made by hand."""

import math

import pytest
import torch
from torch import nn

from helpers.combinations import normals
from helpers.subjects import Coded, split_of, subject_of, transparent_vae
from vaelab.evaluation.evaluator import evaluate
from vaelab.evaluation.latents import latents
from vaelab.objective.elbo import ELBO
from vaelab.parts import Latent, Trace

ROWS = torch.rand(120, 4, generator=torch.Generator().manual_seed(0))


def test_a_unit_is_active_where_its_mean_varies_by_more_than_a_hundredth():
    spread = ROWS.sub(ROWS.amin(0)).div(ROWS.amax(0) - ROWS.amin(0)).std(0, correction=0)  # of the pixels
    scale = torch.tensor([1.0, 0.11, 0.09, 0.0]) / spread  # standard deviations; 0.1 is the threshold
    found = latents(subject_of(transparent_vae(4, scale), split_of(ROWS)))
    assert found.metrics["active_units"] == 2
    expected = torch.tensor([1.0, 0.0121, 0.0081, 0.0])
    assert torch.allclose(torch.tensor(found.lists["variance_of_means"]), expected, rtol=0.02)


def test_the_kl_of_the_dimensions_adds_up_to_that_of_the_elbo():
    subject = subject_of(transparent_vae(4), split_of(ROWS))
    whole = evaluate(subject.model, ELBO(1.0, 0, 1), subject.dataset, subject.split, 50)
    found = latents(subject).lists
    assert len(found["kl_by_dimension"]) == 4
    assert sum(found["kl_by_dimension"]) == pytest.approx(whole["kl"], rel=1e-5)
    assert "kl_by_group" not in found


class Groups(nn.Module):
    """A model of two groups of latents, of two and of three dimensions, whose traces are made of flat ones."""

    takes_labels, latent_dim = False, 5

    def __init__(self):
        super().__init__()
        self.first, self.second = transparent_vae(2), transparent_vae(3)

    def noise(self, samples, images, generator):
        return tuple(model.noise(samples, images, generator) for model in (self.first, self.second))

    def encode(self, x, y=None):
        first, second = self.first.encode(x[..., :2]), self.second.encode(x[..., 2:])

        def trace(noise):
            traces = first(noise[0]), second(noise[1])
            return Trace(traces[0].log_px, (*traces[0].latents, *traces[1].latents))

        return trace

    def embed(self, x, y=None):
        return torch.cat([self.first.embed(x[..., :2]), self.second.embed(x[..., 2:])], -1)


def test_groups_have_their_own_kl():
    found = latents(subject_of(Groups(), split_of(normals(60, 5)))).lists
    assert len(found["kl_by_dimension"]) == 5
    assert found["kl_by_group"] == pytest.approx([sum(found["kl_by_dimension"][:2]), sum(found["kl_by_dimension"][2:])])


@pytest.mark.parametrize(
    ("codes", "used", "perplexity"), [([0, 0, 0, 0], 1 / 8, 1), ([0, 1, 2, 3], 1 / 2, 4), ([0, 0, 0, 1], 1 / 4, None)]
)
def test_use_and_perplexity_of_codes(codes, used, perplexity):
    vae = transparent_vae(2)

    def encode(x, y=None):
        q = Coded(torch.tensor(codes).repeat(len(x), 1), 8)
        return lambda noise: Trace(torch.zeros(1, len(x)), (Latent(noise, None, q, None),))

    vae.encode = encode
    found = latents(subject_of(vae, split_of(normals(70, 2))))
    entropy = -sum(share * math.log(share) for share in (0.75, 0.25))
    assert found.metrics["codes_used"] == pytest.approx(used)
    assert found.metrics["code_perplexity"] == pytest.approx(perplexity or math.exp(entropy))
    assert "kl_by_dimension" not in found.lists
    assert found.settings == dict.fromkeys(("codes_used", "code_perplexity"), "of 8 codes")
