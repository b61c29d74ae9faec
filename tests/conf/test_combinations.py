"""Every combination of the parts in `conf/` that makes sense trains, resumes, samples and evaluates; or is refused."""

from itertools import product

import pytest
import torch

from conftest import ROOT
from helpers.small_training import train, trainer_of
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.ops import generator
from vaelab.run.build import Builder
from vaelab.run.node import NodeBuilder

GROUPS = ("model", "posterior", "prior", "likelihood", "objective")
OPTIONS = [sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in GROUPS]
COMBINATIONS = [*product(*OPTIONS, ("none", "dynamic", "static"))]


@pytest.fixture
def config(request, compose):
    *options, binarize = request.param
    chosen = (f"{group}={option}" for group, option in zip(GROUPS, options, strict=True))
    return compose(*chosen, "dataset=digits", f"dataset.binarize={binarize}", "latent.dim=3", "logger=local")


def test_the_combinations_are_those_of_the_folder():
    assert all(OPTIONS)
    assert len(COMBINATIONS) >= 18


@pytest.mark.parametrize("config", COMBINATIONS, ids="-".join, indirect=True)
def test_a_combination_trains_resumes_samples_and_evaluates_or_is_refused(config, tmp_path):
    dataset = Builder(config, None).dataset()
    likelihood = NodeBuilder(config, None).build("likelihood")
    if dataset.pixel_kind not in likelihood.pixels:
        with pytest.raises(UserError, match=r"scores pixels of the kind .* choose dataset\.binarize="):
            Builder(config, None).setup()
        return
    whole, first, second = (trainer_of(Builder(config, None).setup(), tmp_path) for _ in range(3))
    before = [parameter.clone() for parameter in whole.model.parameters()]
    train(whole, 2)
    assert not any(torch.equal(a, b) for a, b in zip(before, whole.model.parameters(), strict=True))
    train(first, 1)
    first.save()
    second.restore()
    train(second, 1)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name

    model = whole.model.eval()
    metrics = evaluate(model, whole.objective, dataset, dataset.val, 100)
    assert all(map(torch.isfinite, map(torch.tensor, metrics.values())))
    images = model.sample(3, generator(0, "samples"), torch.arange(3) if model.takes_labels else None)
    assert images.shape == (3, *dataset.image_shape)
    assert images.min() >= 0
    assert images.max() <= 1
