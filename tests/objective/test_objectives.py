"""What holds for every objective of `conf/`: a finite loss, gradients everywhere, and what it says of itself."""

import pytest
import torch
import yaml

from conftest import ROOT
from helpers.combinations import levels, normals, vae_of
from helpers.steps import assert_compiled_is_eager
from vaelab.evaluation.metrics import METRICS
from vaelab.ops import unit_interval
from vaelab.parts import Facts
from vaelab.run.contracts import check_objective
from vaelab.run.node import NodeBuilder

OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "objective").glob("*.yaml"))
IMAGES = 6
X = unit_interval(levels(IMAGES, 1, 8, 8)) * torch.linspace(0.2, 1, IMAGES)[:, None, None, None]
X[::2] = 1 - X[::2]


def objective_of(option, latent_dim=5):
    """With the settings of its file; weights of its own are the same at every call."""
    node = yaml.safe_load((ROOT / "conf" / "objective" / f"{option}.yaml").read_text())
    facts = vars(Facts((1, 8, 8), 10, train_size=1300))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = NodeBuilder({"objective": node}, None).build("objective", **facts, latent_dim=latent_dim)
    check_objective(objective)
    return objective


def noise_for(objective):
    return normals(objective.samples, IMAGES, 5, seed=1)


def vae_of_wide_kl():
    """A VAE of which some images have a KL of few nats and others one of many."""
    vae = vae_of()
    with torch.no_grad():
        vae.posterior.heads.weight[:5] *= 130
    return vae


@pytest.fixture(params=OPTIONS)
def objective(request):
    return objective_of(request.param)


@pytest.mark.parametrize("step", [None, torch.tensor(100.0)])
def test_its_loss_is_finite_and_gives_every_parameter_a_gradient(objective, step):
    vae = vae_of()
    loss, trace, terms = objective(vae, X, noise_for(objective), step)
    assert loss.shape == ()
    assert {name for name, term in terms.items() if term.shape != () or not term.isfinite()} == set()
    assert not terms.keys() & {"grad_norm", *METRICS}  # a term of a batch is not what is measured of all images
    assert trace.log_px.shape[1] == IMAGES
    loss.backward()
    own = objective.parameters() if isinstance(objective, torch.nn.Module) else ()
    for parameter in (*vae.parameters(), *own):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


def test_the_same_noise_gives_the_same_loss_and_other_noise_another(objective):
    vae, state = vae_of(), torch.get_rng_state()
    one, same = (objective(vae, X, noise_for(objective))[0] for _ in range(2))
    other = objective(vae, X, normals(objective.samples, IMAGES, 5, seed=2))[0]
    assert one == same
    assert one != other
    assert torch.equal(torch.get_rng_state(), state)


def values_and_gradients(objective, vae, images):
    """The loss and its terms, and the gradient for each parameter, on some of the images."""
    vae.zero_grad()
    own = []
    if isinstance(objective, torch.nn.Module):
        objective.zero_grad()
        own = list(objective.parameters())
    loss, _, terms = objective(vae, X[images], noise_for(objective)[:, images])
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in (*vae.parameters(), *own)]
    return [loss.detach(), *(term.detach() for term in terms.values()), *gradients]


def test_it_says_whether_its_loss_is_the_mean_of_single_images(objective):
    vae = vae_of_wide_kl()
    together = values_and_gradients(objective, vae, slice(None))
    alone = zip(*(values_and_gradients(objective, vae, slice(i, i + 1)) for i in range(IMAGES)), strict=True)
    means = [sum(each) / IMAGES for each in alone]
    distance = max((a - b).norm() / (a.norm() + 1e-3) for a, b in zip(together, means, strict=True))
    assert distance < 1e-3 if objective.is_mean_over_images else distance > 1e-2


def test_a_pass_without_gradients_gives_the_same_values(objective):
    vae = vae_of()
    loss, _, terms = objective(vae, X, noise_for(objective))
    with torch.no_grad():
        again, _, terms_again = objective(vae, X, noise_for(objective))
    torch.testing.assert_close(again, loss.detach())
    torch.testing.assert_close(terms_again, {name: term.detach() for name, term in terms.items()})


def test_further_losses_of_the_model_are_added(objective):
    class WithLosses(torch.nn.Module):
        """A posterior with losses of its own, as a codebook has."""

        def __init__(self, posterior):
            super().__init__()
            self.posterior = posterior

        def forward(self, h):
            q = self.posterior(h)
            object.__setattr__(q, "losses", {"one": torch.tensor(2.0), "other": torch.tensor(0.5)})
            return q

    vae, noise = vae_of(), noise_for(objective)
    without = objective(vae, X, noise)[0]
    vae.posterior = WithLosses(vae.posterior)
    torch.testing.assert_close(objective(vae, X, noise)[0], without + 2.5)


def test_one_with_networks_has_their_optimizer_and_cannot_be_compiled(objective):
    if isinstance(objective, torch.nn.Module):
        optimized = [parameter for group in objective.optimizer.param_groups for parameter in group["params"]]
        assert {*map(id, optimized)} == {*map(id, objective.parameters())}
        assert not objective.compiles


@pytest.mark.slow
@pytest.mark.parametrize("option", [option for option in OPTIONS if objective_of(option, latent_dim=3).compiles])
def test_the_compiled_step_is_the_eager_one(option):
    assert_compiled_is_eager(lambda: objective_of(option, latent_dim=3))
