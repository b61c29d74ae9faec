"""A step that ranks share is the step that one process makes."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import pytest
import torch
from torch import nn

from helpers.fakes import labelled_vae
from helpers.steps import D, eager_of, eager_step, losses, make_step, tensors
from vaelab.machine.ranks import Ranks
from vaelab.objective.elbo import ELBO
from vaelab.training.shared import SharedStep


@dataclass(frozen=True)
class Threads(Ranks):
    """Ranks that are threads of this process, which sum in the order of their numbers."""

    def weighted_sum(self, tensors, weight, vote):
        values, barrier = self.store
        values[self.rank] = ([tensor.detach() * weight for tensor in tensors], float(vote))
        barrier.wait(timeout=10)
        found = [values[rank] for rank in range(self.size)]
        barrier.wait(timeout=10)
        sums = [sum(parts) for parts in zip(*(parts for parts, _ in found), strict=True)]
        return sums, torch.tensor(sum(vote for _, vote in found))


def shared_steps(size, voters=(), **options):
    """The step of each rank, on a model of its own."""
    store = ({}, Barrier(size))
    ranks = [Threads(rank, size, store=store) for rank in range(size)]
    return [SharedStep(eager_step(**copy.deepcopy(options)), rank, lambda r=rank.rank: r in voters) for rank in ranks]


def on_all(steps, call):
    """What `call` gives of each rank's step, made at the same time."""
    # a new thread of Python's would compute with torch's default of threads, and so round otherwise
    with ThreadPoolExecutor(len(steps), initializer=lambda: torch.set_num_threads(1)) as pool:
        return list(pool.map(call, steps))


@pytest.mark.parametrize(
    "options",
    [{}, {"grad_clip": 5.0, "objective": ELBO(2.0, 8, 3)}, {"optimizer": "sgd", "model": labelled_vae()}],
    ids=["adam", "clipped, three samples and a warm-up", "with labels"],
)
@pytest.mark.parametrize("size", [2, 3])
def test_shared_steps_give_the_losses_and_weights_of_a_whole_one(size, options):
    whole, shared = eager_step(**copy.deepcopy(options)), shared_steps(size, **options)
    expected = losses(whole, range(10))
    found = on_all(shared, lambda step: losses(step, range(10)))
    assert found == [found[0]] * size
    assert found[0] == pytest.approx(expected, rel=1e-5)
    for name, value in tensors(whole).items():
        torch.testing.assert_close(tensors(shared[0])[name], value, rtol=1e-3, atol=1e-5)
        assert all(torch.equal(tensors(shared[0])[name], tensors(other)[name]) for other in shared)


@pytest.mark.parametrize("images", [1, 2])
def test_a_batch_of_fewer_images_than_ranks_counts_each_once(images):
    expected = make_step(eager_step(), 0, size=images, grad_norm=True)
    for values in on_all(shared_steps(3), lambda step: make_step(step, 0, size=images, grad_norm=True)):
        assert values.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(values[name], value, rtol=1e-5, atol=1e-5)


class Statistics(nn.Module):
    """Keeps the mean of the last images, as a codebook does of its codes, and counts the calls."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.out_features = inner, inner.out_features
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.mean.copy_(x.mean())
        self.calls.add_(1)
        return self.inner(x)


def test_buffers_of_real_numbers_are_those_of_the_whole_batch():
    model = eager_step().model
    model.encoder = Statistics(model.encoder)
    whole, shared = eager_step(model=copy.deepcopy(model)), shared_steps(3, model=model)
    make_step(whole, 0)
    on_all(shared, lambda step: make_step(step, 0))
    for step in shared:
        encoder = eager_of(step).model.encoder
        torch.testing.assert_close(encoder.mean, whole.model.encoder.mean)
        assert encoder.calls == 1


class InTwoGroups(nn.Module):
    """A model whose noise is a tuple, as of a ladder."""

    takes_labels = False

    def __init__(self):
        super().__init__()
        self.inner = eager_step().model
        self.seen = []

    def noise(self, samples, images, generator):
        return torch.randn(samples, images, D, generator=generator), torch.randn(samples, images, 2)

    def forward(self, x, noise, y=None):
        assert [len(x)] * 2 == [part.shape[1] for part in noise]
        return self.inner(x, noise[0])


def test_each_tensor_of_a_tuple_of_noise_is_shared():
    expected = make_step(eager_step(model=InTwoGroups()), 0)["loss"]
    for values in on_all(shared_steps(2, model=InTwoGroups()), lambda step: make_step(step, 0)):
        torch.testing.assert_close(values["loss"], expected)


@pytest.mark.parametrize("voters", [(), (1,), (0, 2)])
def test_all_ranks_learn_how_many_were_asked_to_stop(voters):
    shared = shared_steps(3, voters)
    on_all(shared, lambda step: make_step(step, 0))
    assert [step.stop_votes.item() for step in shared] == [len(voters)] * 3
