"""Training steps of a small model on batches that are the same at every call."""

import pytest
import torch

from helpers.fakes import small_vae
from vaelab.objective.elbo import ELBO
from vaelab.ops import binarize, generator
from vaelab.optimizer.muon import Muon
from vaelab.training.clock import Clock
from vaelab.training.compiled import CompiledStep
from vaelab.training.step import EagerStep

B, D = 16, 3


def muon(parameters):
    parameters = list(parameters)
    layers = [parameter for parameter in parameters if parameter.ndim == 2]
    return Muon(parameters, layers, lr=1e-3, momentum=0.9, adam_lr=1e-3, adam_betas=(0.9, 0.99), adam_eps=1e-8)


OPTIMIZERS = {
    "muon": muon,
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, fused=True),
    "adam with weight decay": lambda parameters: torch.optim.Adam(
        parameters, lr=1e-2, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-3, fused=True
    ),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1, fused=True),
    "adam decoupled": lambda parameters: torch.optim.Adam(
        parameters, lr=1e-2, weight_decay=0.1, decoupled_weight_decay=True, fused=True
    ),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-5, momentum=0.9, fused=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3),
    "adam that is not fused": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, fused=False),
}


def eager_step(optimizer="adam", model=None, objective=None, grad_clip=None, bfloat16=False):
    """An eager step of a model of its own."""
    model = model or small_vae(D)
    model.bfloat16 = bfloat16
    return EagerStep(model, objective or ELBO(1.0, 0, 1), OPTIMIZERS[optimizer](model.parameters()), grad_clip)


def compiled_step(insists=True, clock=None, **options):
    """A compiled step of a model of its own, as `eager_step` makes it."""
    clock = clock or Clock(torch.device("cpu"), lambda seconds: None)
    return CompiledStep(eager_step(**options), B, insists, clock)


def eager_of(step):
    """The eager step that a step is made of."""
    return getattr(step, "eager", step)


def make_step(step, number, size=B, grad_norm=False):
    """Make step `number` on a batch of its own; the values that it returns."""
    eager, noise = eager_of(step), generator(0, "test", number)
    x = binarize(torch.rand(size, 1, 8, 8, generator=noise), torch.rand(size, 1, 8, 8, generator=noise))
    y = torch.randint(10, (size,), generator=noise) if eager.model.takes_labels else None
    return step(x, eager.model.noise(eager.objective.samples, size, noise), number, y, grad_norm)


def losses(step, numbers):
    """The losses of these steps, whose learning rate falls, for a schedule must not be compiled in."""
    found = []
    for number in numbers:
        for group in eager_of(step).optimizer.param_groups:
            group["lr"] = group.setdefault("first_lr", group["lr"]) * (1 - number / 100)
        found.append(make_step(step, number)["loss"].item())
    return found


def tensors(step):
    """Copies of the weights and of all that the optimizer keeps."""
    eager = eager_of(step)
    kept = dict(eager.model.state_dict())
    for index, state in eager.optimizer.state_dict()["state"].items():
        kept |= {f"{index}.{key}": value for key, value in state.items()}
    return {name: value.clone() for name, value in kept.items()}


def assert_compiled_is_eager(make_objective):
    """The compiled steps of an objective have the losses of its eager ones."""
    eager, fast = eager_step(objective=make_objective()), compiled_step(objective=make_objective())
    assert losses(fast, range(6)) == pytest.approx(losses(eager, range(6)), rel=1e-5)
    assert fast._graph is not None
