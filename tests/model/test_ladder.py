"""The ladder: densities add up, groups depend on what they should, a pass and sampling agree, it trains."""

import pytest
import torch
from torch.distributions import Normal

from helpers.combinations import LIKELIHOODS, levels
from helpers.small_training import assert_resumes_bit_for_bit, assert_trains_compiled_as_eagerly
from vaelab.model.ladder import Ladder
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval
from vaelab.run.build import Builder

SMALL = {"patch": 1, "channels": [4, 8, 8], "blocks": [1, 0, 1], "groups": [0, 1, 2], "channels_z": 2}
DIMS = [2 * 2 * 2, 2 * 2 * 2, 2 * 4 * 4]  # of an image of 8 x 8
IMAGE_SHAPES = [(c, *size) for c in (1, 3) for size in ((8, 8), (9, 13), (28, 28), (32, 32))]


def ladder_of(image_shape=(1, 8, 8), likelihood="bernoulli", moved=0.3, bfloat16=False, **setting):
    """A ladder whose weights are the same at every call, moved away from zeros as training would."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        p_x = LIKELIHOODS[likelihood]()
        ladder = Ladder(
            image_shape, p_x.out_channels(image_shape[0]), p_x, bfloat16, **{"classes": 0, **SMALL, **setting}
        )
        with torch.no_grad():
            for parameter in ladder.parameters():
                parameter.add_(moved * torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)
    return ladder


def images(count=3, shape=(1, 8, 8)):
    return unit_interval(levels(count, *shape))


def noise_of(ladder, samples, count, seed=1):
    return ladder.noise(samples, count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
def test_it_fits_any_image(image_shape, likelihood):
    ladder, x = ladder_of(image_shape, likelihood), images(2, image_shape)
    trace = ladder(x, noise_of(ladder, 3, 2))
    assert trace.log_w.shape == (3, 2)
    assert trace.log_w.isfinite().all()
    assert [latent.z.shape[-1] for latent in trace.latents] == ladder.dims
    assert ladder.embed(x).shape == (2, ladder.latent_dim) == (2, sum(ladder.dims))
    assert ladder.reconstruct(x).shape == x.shape
    drawn = ladder.sample(2, torch.Generator().manual_seed(0), pixel_noise=True)
    assert drawn.shape == x.shape
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_latents_are_maps_from_the_smallest_resolution_up():
    ladder = ladder_of()
    assert ladder.dims == DIMS
    assert ladder_of(channels=[8], blocks=[0], groups=[2], channels_z=3).dims == [3 * 64, 3 * 64]
    assert ladder_of((1, 9, 13)).dims == [2 * 3 * 4, 2 * 3 * 4, 2 * 5 * 7]


def test_a_patch_of_pixels_is_one_place_of_the_first_resolution():
    ladder, x = ladder_of((3, 8, 12), "logistic", patch=2), images(2, (3, 8, 12))
    assert ladder.dims == [2 * 1 * 2, 2 * 1 * 2, 2 * 2 * 3]
    trace = ladder(x, noise_of(ladder, 3, 2))
    assert trace.log_w.isfinite().all()
    params = ladder.decode([latent.z for latent in trace.latents])
    assert params.shape == (3, 2, ladder.likelihood.out_channels(3), 8, 12)
    assert params.flatten(3).std(-1).min() > 0, "each pixel has parameters of its own"


def by_torch(density, z):
    """log N(z) by torch.distributions."""
    return Normal(density.mean, torch.exp(0.5 * density.log_var)).log_prob(z).sum(-1)


def test_an_importance_weight_is_what_the_densities_of_all_groups_say():
    ladder, x = ladder_of(), images()
    trace = ladder(x, noise_of(ladder, 4, 3))
    expected = trace.log_px
    for latent in trace.latents:
        expected = expected + by_torch(latent.p, latent.z) - by_torch(latent.q, latent.z)
    torch.testing.assert_close(trace.log_w, expected, rtol=1e-4, atol=1e-3)
    of_z = ladder.decode([latent.z for latent in trace.latents])  # x comes into p(x|z) through z alone
    torch.testing.assert_close(trace.log_px, ladder.likelihood.log_prob(of_z, x), rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_the_kl_of_each_group_is_its_estimate_and_they_add_up():
    ladder, x = ladder_of(), images()
    trace = ladder(x, noise_of(ladder, 4000, 3))
    for latent in trace.latents:
        ratio = latent.log_q - latent.log_p
        closed = latent.kl.sum(-1)
        assert closed.min() > 0.02
        assert ((ratio.mean(0) - closed).abs() < 4.5 * ratio.std(0) / len(ratio) ** 0.5 + 1e-4).all()
    torch.testing.assert_close(trace.kl, sum(latent.kl.sum(-1) for latent in trace.latents))


def test_a_posterior_depends_on_the_image_and_the_groups_above_and_not_on_those_below():
    ladder, x = ladder_of(), images().requires_grad_()
    noise = tuple(eps.requires_grad_() for eps in noise_of(ladder, 2, 3))
    for index, latent in enumerate(ladder(x, noise).latents):
        for value in (latent.q.mean, latent.q.log_var):
            of_x, *of_noise = torch.autograd.grad(value.sum(), (x, *noise), retain_graph=True, allow_unused=True)
            assert of_x.abs().min(0).values.max() > 0
            reached = [gradient is not None and bool(gradient.any()) for gradient in of_noise]
            assert reached == [above < index for above in range(len(noise))]


def test_the_prior_of_the_top_is_one_for_all_images_and_another_prior_follows_the_latents_above():
    ladder, x = ladder_of(), images()
    first, second, third = (ladder(x, noise_of(ladder, 2, 3, seed)).latents for seed in (1, 1, 2))
    other = ladder(x.flip(0), noise_of(ladder, 2, 3)).latents
    assert first[0].p.mean.shape == (1, DIMS[0])
    assert first[0].q.mean.shape == (3, DIMS[0])
    assert torch.equal(first[0].p.mean, other[0].p.mean)
    for group in (1, 2):
        assert first[group].p.mean.shape == first[group].q.mean.shape == (2, 3, DIMS[group])
        assert torch.equal(first[group].p.mean, second[group].p.mean)
        assert (first[group].p.mean - third[group].p.mean).abs().max() > 1e-2


@torch.no_grad()
def test_a_sample_is_what_a_pass_says_of_latents_drawn_from_its_priors():
    ladder, x = ladder_of(), images()
    drawn = noise_of(ladder, 1, 3, seed=7)
    noise = list(noise_of(ladder, 1, 3))
    for group, eps in enumerate(drawn):  # the noise of q that gives the z which eps gives of p
        latent = ladder(x, tuple(noise)).latents[group]
        z, _ = latent.p.draw(eps)
        noise[group] = (z - latent.q.mean) * torch.exp(-0.5 * latent.q.log_var)
    z = [latent.z for latent in ladder(x, tuple(noise)).latents]
    mean = ladder.likelihood.mean(ladder.decode(z)[0])
    torch.testing.assert_close(ladder.sample(3, torch.Generator().manual_seed(7)), mean, rtol=1e-4, atol=1e-5)
    assert mean.std(0).max() > 1e-3


@torch.no_grad()
def test_the_temperature_scales_the_noise():
    ladder = ladder_of()
    cold, warm = (ladder.sample(4, torch.Generator().manual_seed(0), temperature=t) for t in (0.0, 1.0))
    torch.testing.assert_close(cold[:1].expand(4, -1, -1, -1), cold)
    assert warm.std(0).max() > 1e-3


@torch.no_grad()
def test_an_embedding_is_the_means_and_a_reconstruction_is_decoded_from_it():
    ladder, x = ladder_of(), images()
    z = ladder.embed(x)
    parts = [part[None] for part in z.split(ladder.dims, dim=-1)]
    torch.testing.assert_close(ladder.reconstruct(x), ladder.likelihood.mean(ladder.decode(parts)[0]))
    trace = ladder(x, tuple(torch.zeros(1, 3, dim) for dim in ladder.dims))
    torch.testing.assert_close(z, torch.cat([latent.q.mean.expand(1, 3, -1)[0] for latent in trace.latents], -1))


@torch.no_grad()
def test_more_samples_and_more_images_are_the_same_as_one_by_one():
    ladder, x = ladder_of(), images()
    noise = noise_of(ladder, 4, 3)
    whole = ladder(x, noise)
    for k in range(4):
        one = ladder(x, tuple(eps[k : k + 1] for eps in noise))
        torch.testing.assert_close(one.log_w[0], whole.log_w[k], rtol=1e-4, atol=1e-3)
    image = ladder(x[1:2], tuple(eps[:, 1:2] for eps in noise))
    torch.testing.assert_close(image.log_w[:, 0], whole.log_w[:, 1], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(image.kl[0], whole.kl[1], rtol=1e-4, atol=1e-3)
    assert torch.equal(ladder.encode(x)(noise).log_w, whole.log_w)


def test_it_begins_with_posteriors_near_their_priors():
    ladder, x = (
        ladder_of((1, 28, 28), moved=0, channels=[16, 32, 64, 64], blocks=[1] * 4, groups=[0, 1, 2, 2]),
        images(8, (1, 28, 28)),
    )
    trace = ladder(x, noise_of(ladder, 1, 8))
    assert 0 < trace.kl.min() <= trace.kl.max() < 5
    assert trace.log_px.isfinite().all()
    for latent in trace.latents:
        assert not latent.p.mean.any()
        assert not latent.p.log_var.any()


@torch.no_grad()
def test_far_too_large_weights_leave_the_densities_finite():
    ladder, x = ladder_of(), images()
    for group in ladder._groups():
        group.of_prior[1][-1].weight.mul_(1e3)
        group.of_both[-1].weight.mul_(1e3)
    trace = ladder(x, noise_of(ladder, 2, 3))
    assert trace.log_w.isfinite().all()
    assert trace.kl.isfinite().all()
    assert max(latent.q.log_var.abs().max() for latent in trace.latents) <= 10


def test_every_parameter_gets_a_gradient_after_one_step():
    """For the last convolutions of residual branches, and they alone, are zero at first."""
    ladder, x = ladder_of(moved=0), images()
    optimizer = torch.optim.Adam(ladder.parameters(), lr=1e-3)
    for step in range(2):
        optimizer.zero_grad()
        ELBO(beta=1.0, warmup_steps=0, samples=1)(ladder, x, noise_of(ladder, 1, 3, step))[0].backward()
        optimizer.step()
    assert not [name for name, parameter in ladder.named_parameters() if not parameter.grad.any()]


def test_the_gradient_of_the_bound_is_its_slope():
    """No way from a parameter to the bound is cut: p_l of q_l and of z, the trunk, the features of the images."""
    ladder, x = ladder_of(), images()
    noise = noise_of(ladder, 1, 3)
    ladder(x, noise).log_w.sum().backward()
    for name, parameter in ladder.named_parameters():
        direction, slope = torch.sign(parameter.grad), parameter.grad.abs().sum()
        step = 0.02 / slope  # so that the bound changes by about 0.04, far above rounding
        with torch.no_grad():
            parameter.add_(step * direction)
            above = ladder(x, noise).log_w.double().sum()
            parameter.sub_(2 * step * direction)
            below = ladder(x, noise).log_w.double().sum()
            parameter.add_(step * direction)
        assert (above - below).item() == pytest.approx(0.04, rel=0.05), name


def test_products_in_bfloat16_are_near_those_in_float32_and_densities_stay_float32():
    x, noise = images(), noise_of(ladder_of(), 2, 3)
    exact, rounded = (ladder_of(bfloat16=low)(x, noise) for low in (False, True))
    assert {latent.q.mean.dtype for latent in rounded.latents} == {torch.float32}
    assert rounded.log_px.dtype == torch.float32
    torch.testing.assert_close(rounded.log_w, exact.log_w, rtol=0.02, atol=1.0)
    assert not torch.equal(rounded.log_w, exact.log_w)


def test_it_draws_from_no_generator_but_the_one_given():
    ladder, x = ladder_of(), images()
    state = torch.get_rng_state()
    ladder.reconstruct(x)
    ladder(x, noise_of(ladder, 1, 3))
    one, same = (ladder.sample(2, torch.Generator().manual_seed(3), pixel_noise=True) for _ in range(2))
    assert torch.equal(one, same)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"channels": [8, 8]}, "blocks must be a list of 2 integers of at least 0, as many as channels"),
        ({"channels": [8] * 5}, "channels must be of at most 4 resolutions"),
        ({"groups": [1, 1, 0]}, "groups must be a list of 3 integers .* the last of at least 1, got"),
        ({"groups": [1, -1, 1]}, "groups must be a list of 3 integers"),
        ({"blocks": 1}, "blocks must be a list of 3 integers .* got 1"),
        ({"channels_z": 0}, "channels_z must be an integer of at least 1, got 0"),
        ({"patch": 0}, "patch must be an integer of at least 1, got 0"),
        ({"patch": 3}, "patch must divide the sides of images of 8 x 8, got 3"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        ladder_of(**setting)


@pytest.fixture
def setup(compose):
    """Builds the setup of a small ladder on the digits, with parts of its structure changed."""

    def build(**changed):
        structure = [f"model.{key}={value}" for key, value in {**SMALL, **changed}.items()]
        config = compose("dataset=digits", "logger=local", "model=ladder", "trainer.batch_size=64", *structure)
        return Builder(config, None).setup()

    return build


def test_it_resumes_bit_for_bit(setup, tmp_path):
    assert_resumes_bit_for_bit(setup, 1, tmp_path)


@pytest.mark.slow
def test_its_compiled_step_is_its_eager_one(setup, tmp_path):
    shallow = {"channels": [4, 4], "blocks": [0, 0], "groups": [1, 1]}  # each operation is there, and compiles sooner
    assert_trains_compiled_as_eagerly(lambda: setup(**shallow), tmp_path)


def test_labels_go_to_both_ways_and_each_sample_of_an_image_keeps_its_own():
    ladder, x, y = ladder_of(classes=3), images(), torch.tensor([2, 0, 1])
    noise = noise_of(ladder, 4, 3)
    trace = ladder(x, noise, y)
    for image in range(3):
        alone = ladder(x[image : image + 1], tuple(eps[:, image : image + 1] for eps in noise), y[image : image + 1])
        torch.testing.assert_close(trace.log_w[:, image], alone.log_w[:, 0], rtol=1e-4, atol=1e-4)
    trace.log_w.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in ladder.parameters())

    first = trace.latents[0]
    assert not torch.allclose(first.p.mean[0], first.p.mean[1]), "p(z|y)"
    other = ladder(x, noise, y.roll(1))
    assert not torch.allclose(other.latents[0].q.mean, first.q.mean), "q(z|x, y)"
    drawn = [ladder.sample(3, torch.Generator().manual_seed(0), labels) for labels in (y, y, y.roll(1))]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
