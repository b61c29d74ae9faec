"""The conditional VAE: labels reach encoder, prior and decoder, and samples are of their class."""

import pytest
import torch

from vaelab.conditional.labels import LabelledPrior, Labels, Moved
from vaelab.distributions import Normal, StandardNormal
from vaelab.errors import UserError
from vaelab.ops import generator
from vaelab.run.build import Builder


def model_of(compose, *overrides):
    config = compose(
        *("dataset=digits", "conditional=labels", "logger=local", "model.hidden=[16]", "latent.dim=3"), *overrides
    )
    return Builder(config, None).setup().model


def test_labels_reach_encoder_prior_and_decoder(compose):
    model = model_of(compose)
    with torch.no_grad():
        for parameter in (model.encoder.images, model.prior.mean, model.prior.log_var):
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    x, y = torch.ones(2, 1, 8, 8), torch.tensor([3, 4])
    embedded = model.embed(x, y)
    assert not torch.allclose(embedded[0], embedded[1])
    assert not torch.allclose(*model.prior_of(y).mean)
    z = torch.zeros(2, 3)
    assert not torch.allclose(*model.decode(z, y))
    trace = model(x, model.noise(2, 2, torch.Generator().manual_seed(0)), y)
    trace.log_w.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_samples_of_several_noises_keep_the_label_of_their_image(compose):
    model = model_of(compose)
    x, y = torch.rand(3, 1, 8, 8).round(), torch.tensor([0, 5, 9])
    noise = model.noise(4, 3, torch.Generator().manual_seed(0))
    together = model(x, noise, y).log_px
    for image in range(3):
        alone = model(x[image : image + 1], noise[:, image : image + 1], y[image : image + 1]).log_px
        torch.testing.assert_close(together[:, image], alone[:, 0])


def test_a_moved_density_is_the_one_of_moved_samples():
    mean, log_var = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, -1.0]])
    moved, normal = Moved(StandardNormal(), mean, log_var), Normal(mean, log_var)
    eps = torch.randn(5, 1, 2, generator=torch.Generator().manual_seed(0))
    (z, log_prob), (expected, expected_log_prob) = moved.draw(eps), normal.draw(eps)
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(log_prob, expected_log_prob)
    torch.testing.assert_close(moved.log_prob(z), log_prob)


def test_a_prior_that_cannot_take_labels_is_refused():
    class Spherical(torch.nn.Module):
        space = "sphere"

    with pytest.raises(UserError, match="Spherical takes no labels"):
        LabelledPrior(Spherical(), 3, 10)
    with pytest.raises(UserError, match="needs a dataset with labels"):
        Labels((1, 8, 8), None, 3)


@pytest.mark.slow
def test_samples_are_of_their_class_by_a_classifier(inline, tmp_path):
    """Of a classifier that knows 95% of the real digits, at least 80% of the samples; chance is 10%."""
    from sklearn.linear_model import LogisticRegression

    from vaelab.run.load import load_run

    overrides = ("dataset=digits", "conditional=labels", "model.hidden=[256]", "latent=d8", "trainer.epochs=40")
    code, _, err = inline(*overrides, "trainer.batch_size=64", "logger=local", "hydra.run.dir=run")
    assert code == 0, err
    run = load_run(tmp_path / "run")
    train, test = run.dataset.train, run.dataset.test()
    classifier = LogisticRegression(max_iter=2000).fit(train.images.flatten(1) / 255, train.labels)
    assert classifier.score(test.images.flatten(1) / 255, test.labels) > 0.93
    y = torch.arange(500) % 10
    samples = run.sample(500, seed=0, y=y)
    assert samples.shape == (500, 1, 8, 8)
    assert (classifier.predict(samples.flatten(1)) == y.numpy()).mean() > 0.8
    assert torch.equal(run.sample(20, seed=0), run.model.sample(20, generator(0, "samples"), torch.arange(20) % 10))
