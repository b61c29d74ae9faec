"""The codebook: nearest codes, the straight-through gradient, moving averages, the uniform prior."""

import math

import pytest
import torch

from helpers.combinations import normals
from helpers.small_training import assert_resumes_bit_for_bit
from vaelab.errors import UserError
from vaelab.posterior.vq import VQPosterior
from vaelab.run.build import Builder

B, F, D, CODES, CODE_DIM = 40, 6, 4, 8, 2
SETTING = {"latent_dim": D, "codes": CODES, "code_dim": CODE_DIM, "decay": 0.9, "commitment": 0.25}


def codebook(**setting):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VQPosterior(F, **{**SETTING, **setting})


def vectors_of(posterior, h):
    """What the encoder says, before it is replaced by codes, (B, n, d)."""
    return posterior.head(h).unflatten(-1, (-1, CODE_DIM))


def nearest(vectors, codes):
    return (vectors.unsqueeze(-2) - codes).square().sum(-1).argmin(-1)


def test_z_is_made_of_the_codes_nearest_to_the_vectors():
    posterior, h = codebook().eval(), 3 * normals(B, F)
    q = posterior(h)
    assert q.codes.shape == (B, D // CODE_DIM)
    assert torch.equal(q.codes, nearest(vectors_of(posterior, h), posterior.codebook))
    assert torch.equal(q.z, posterior.codebook[q.codes].flatten(1))
    assert len(q.codes.unique()) > 2
    assert q.num_codes == CODES


def test_the_gradient_goes_straight_through():
    posterior, h, weight = codebook(commitment=0.0), normals(B, F), normals(3, B, D, seed=2)
    z, _ = posterior(h).draw(torch.zeros(3, B, D))
    found = torch.autograd.grad((z * weight).sum(), posterior.head.parameters())
    expected = torch.autograd.grad((posterior.head(h) * weight).sum(), posterior.head.parameters())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("weight", [0.25, 2.0])
def test_the_commitment_pulls_the_vectors_to_codes_that_stay(weight):
    posterior, h = codebook(commitment=weight).eval(), normals(B, F)
    q = posterior(h)
    away = vectors_of(posterior, h) - posterior.codebook[q.codes]
    torch.testing.assert_close(q.losses["commitment"], weight * away.flatten(1).square().sum(1).mean())
    (found,) = torch.autograd.grad(q.losses["commitment"], posterior.head.bias)
    torch.testing.assert_close(found, 2 * weight * away.flatten(1).mean(0))


def test_codes_follow_by_the_moving_averages_of_the_paper():
    """N <- g N + (1 - g) n and m <- g m + (1 - g) sum z for each batch, in numbers of vectors; e = m / N."""
    posterior, decay = codebook(), 0.9
    vectors_a_batch = B * D // CODE_DIM
    counts, sums = posterior.shares * vectors_a_batch, posterior.sums * vectors_a_batch
    for seed in range(4):
        h = normals(B, F, seed=seed)
        vectors = vectors_of(posterior, h).detach().flatten(0, 1)
        codes = sums / counts.unsqueeze(-1)
        chosen = nearest(vectors, codes)
        posterior(h)
        for k in range(CODES):
            counts[k] = decay * counts[k] + (1 - decay) * (chosen == k).sum()
            sums[k] = decay * sums[k] + (1 - decay) * vectors[chosen == k].sum(0)
        torch.testing.assert_close(posterior.codebook, sums / counts.unsqueeze(-1))
        torch.testing.assert_close(posterior.shares, counts / vectors_a_batch)
    assert posterior.shares.sum().item() == pytest.approx(1)


def test_with_no_memory_a_step_is_one_of_k_means():
    posterior, h = codebook(decay=0.0), normals(B, F)
    vectors = vectors_of(posterior, h).detach()
    chosen = posterior(h).codes
    for k in chosen.unique():
        torch.testing.assert_close(posterior.codebook[k], vectors[chosen == k].mean(0))


def test_buffers_move_in_place_by_means_over_images_and_in_training_alone():
    whole, first, second = (codebook() for _ in range(3))
    h = normals(B, F)
    places = [buffer.data_ptr() for buffer in whole.buffers()]
    for posterior, rows in ((whole, slice(None)), (first, slice(10)), (second, slice(10, None))):
        posterior(h[rows])
    assert [buffer.data_ptr() for buffer in whole.buffers()] == places
    for found, one, other in zip(whole.buffers(), first.buffers(), second.buffers(), strict=True):
        torch.testing.assert_close(found, 0.25 * one + 0.75 * other)
    before = [buffer.clone() for buffer in whole.buffers()]
    whole.eval()(normals(B, F, seed=1))
    assert all(map(torch.equal, before, whole.buffers()))


def test_a_code_that_nothing_chooses_stays_where_it_is_and_never_is_undefined():
    posterior, h = codebook(), 0.1 * normals(B, F)
    before = posterior.codebook.clone()
    chosen = posterior(h).codes
    unused = [k for k in range(CODES) if k not in chosen]
    torch.testing.assert_close(posterior.codebook[unused], before[unused])
    assert unused
    posterior.shares[unused] = 0.0
    posterior.sums[unused] = 0.0
    assert posterior.codebook.isfinite().all()


def test_the_prior_is_uniform_over_the_codes_each_by_itself():
    posterior, count = codebook(), 20_000
    z, log_p = posterior.prior().draw(normals(count, D))
    vectors = z.unflatten(-1, (-1, CODE_DIM))
    chosen = nearest(vectors, posterior.codebook)
    assert torch.equal(posterior.codebook[chosen], vectors)
    pairs = torch.bincount(chosen[:, 0] * CODES + chosen[:, 1], minlength=CODES**2)
    expected = count / CODES**2
    assert ((pairs - expected).square() / expected).sum() < 103.4  # chi squared with 63 degrees of freedom, at 0.1%
    torch.testing.assert_close(log_p, torch.full((count,), -math.log(CODES**2)))
    assert posterior.prior().draw(torch.tensor([[40.0] * D, [-40.0] * D]))[0].isfinite().all()


@pytest.fixture
def config(compose):
    return lambda *overrides: compose(
        "dataset=digits", "logger=local", "model.hidden=[32]", "latent.dim=4", "posterior=vq", *overrides
    )


def test_its_training_resumes_bit_for_bit_and_comes_to_use_many_codes(config, tmp_path):
    given = config("objective=rae", "posterior.codes=32", "trainer.batch_size=32", "optimizer.lr=0.01")
    whole = assert_resumes_bit_for_bit(lambda: Builder(given, None).setup(), 2, tmp_path)
    for epoch in range(5):
        for batch in whole.batches.epoch(epoch, 0):
            whole.step(*batch)
    dataset = whole.dataset
    x = dataset.pixels(dataset.val.images, torch.Generator().manual_seed(0))
    assert len(whole.model.eval().infer(x).codes.unique()) > 16
    assert whole.model.embed(x).unflatten(-1, (-1, 2))[0, 0].tolist() in whole.model.posterior.codebook.tolist()


def test_an_objective_that_needs_a_density_is_refused_in_one_sentence(config):
    with pytest.raises(UserError, match="Codes has no density, which its KL needs; choose objective=rae"):
        Builder(config("objective=elbo"), None).setup()


def test_a_step_cannot_be_traced_for_it_changes_the_codes():
    assert codebook().compiles is False


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"codes": 1}, "codes must be an integer of at least 2, got 1"),
        ({"code_dim": 0}, "code_dim must be an integer of at least 1, got 0"),
        ({"code_dim": 3}, "code_dim must divide latent.dim, 4, got 3"),
        ({"decay": -0.1}, "decay must be a finite number of at least 0, got -0.1"),
        ({"decay": 1.0}, "decay must be below 1, got 1.0"),
        ({"commitment": -1}, "commitment must be a finite number of at least 0, got -1"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        codebook(**setting)
