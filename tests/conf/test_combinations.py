"""Every combination of the parts in `conf/` that makes sense trains, resumes, samples and evaluates; or is refused."""

from itertools import product

import pytest
import torch

from conftest import ROOT
from helpers.small_training import assert_resumes_bit_for_bit
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
    whole = assert_resumes_bit_for_bit(lambda: Builder(config, None).setup(), 1, tmp_path)
    model = whole.model.eval()
    metrics = evaluate(model, whole.objective, dataset, dataset.val, 100)
    assert all(map(torch.isfinite, map(torch.tensor, metrics.values())))
    images = model.sample(3, generator(0, "samples"), torch.arange(3) if model.takes_labels else None)
    assert images.shape == (3, *dataset.image_shape)
    assert images.min() >= 0
    assert images.max() <= 1
