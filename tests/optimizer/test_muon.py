"""Muon: what it makes of a matrix, which parameters it takes, and that its state is kept."""

import copy

import pytest
import torch
from torch import nn
from zuko.nn import MaskedLinear

from helpers.combinations import normals
from vaelab.optimizer.muon import Muon, orthogonal
from vaelab.run.build import Builder

ADAM = {"adam_lr": 0.003, "adam_betas": (0.9, 0.99), "adam_eps": 1e-8}


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 6, 3), nn.GroupNorm(2, 6), nn.SiLU(), nn.Flatten(), nn.Linear(24, 3))


def muon(model):
    layers = [module.weight for module in model if isinstance(module, nn.Linear | nn.Conv2d)]
    return Muon(model.parameters(), layers, lr=0.02, momentum=0.95, **ADAM)


def train(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        optimizer.zero_grad()
        model(normals(5, 1, 4, 4, seed=step)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30), (1, 7)])
def test_a_matrix_becomes_nearly_orthogonal_and_keeps_its_singular_vectors(shape):
    u, _, vh = torch.linalg.svd(normals(*shape), full_matrices=False)
    spread = torch.logspace(0, 1.5, u.shape[1])  # singular values of 1 to 30
    found = u.T @ orthogonal(1e-4 * u @ torch.diag(spread) @ vh) @ vh.T

    assert ((found.diagonal() > 0.65) & (found.diagonal() < 1.25)).all()
    assert (found - torch.diag(found.diagonal())).abs().max() < 0.1  # of rounding to bfloat16


def test_weights_of_layers_move_by_orthogonal_matrices_and_the_others_by_adam():
    model, twin = network(), network()
    adam = torch.optim.Adam(twin.parameters(), ADAM["adam_lr"], betas=ADAM["adam_betas"])
    train(model, muon(model), 1)
    train(twin, adam, 1)

    for (name, moved), by_adam, before in zip(
        model.named_parameters(), twin.parameters(), network().parameters(), strict=True
    ):
        if moved.ndim == 1:
            torch.testing.assert_close(moved, by_adam, msg=name)
        else:
            rows, columns = moved.flatten(1).shape
            sizes = torch.linalg.svdvals((moved - before).flatten(1)) / (0.02 * max(1, rows / columns) ** 0.5)
            assert sizes.max() < 1.25, name
            assert sizes[: min(rows, columns) // 2].min() > 0.6, name


def test_the_average_looks_a_step_ahead():
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = Muon([weight], [weight], lr=1.0, momentum=0.5, **ADAM)
    first, second = torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))
    weight.grad = first
    optimizer.step()
    before = weight.detach().clone()
    weight.grad = second
    optimizer.step()

    average = 0.5 * (0.5 * first) + 0.5 * second
    torch.testing.assert_close(before - weight.detach(), orthogonal(0.5 * second + 0.5 * average))


@pytest.mark.parametrize("copied", [True, False])
def test_a_copy_and_a_restored_state_go_on_as_the_original(copied):
    model = network()
    optimizer = muon(model)
    train(model, optimizer, 3)
    if copied:
        other, other_optimizer = copy.deepcopy((model, optimizer))
    else:
        other = copy.deepcopy(model)
        other_optimizer = muon(other)
        other_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, 3, start=3)
    train(other, other_optimizer, 3, start=3)

    for parameter, expected in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(parameter, expected)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("momentum", 1, "a number of at least 0 and below 1, got 1"),
        ("adam_betas", [0.9, 0.99, 0.5], r"2 numbers of at least 0 and below 1, got \[0.9, 0.99, 0.5\]"),
        ("adam_betas", [1.5, 0.99], r"2 numbers of at least 0 and below 1, got \[1.5, 0.99\]"),
        ("adam_lr", 0, "must be a finite number above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(key, value, wanted):
    weight = nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=wanted):
        Muon([weight], [weight], **{"lr": 0.02, "momentum": 0.95, **ADAM, key: value})


def test_weights_that_layers_share_are_trained_once_and_masked_ones_by_adam(compose):
    model = nn.Module()
    model.a, model.b, model.masked = nn.Linear(3, 3), nn.Linear(3, 3), MaskedLinear(torch.ones(3, 3, dtype=torch.bool))
    model.b.weight = model.a.weight
    config = compose("optimizer=muon", "logger=local")
    layers, others = Builder(config, None).optimizer(model).param_groups
    assert [id(weight) for weight in layers["params"]] == [id(model.a.weight)]
    assert len(others["params"]) == 4  # three biases and the masked weight
