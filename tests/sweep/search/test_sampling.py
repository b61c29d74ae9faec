"""Trials are drawn by seed and number, and a sampler that cannot search a space says so."""

import pytest
import yaml
from hydra.utils import get_class
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import CmaEsSampler, GridSampler, RandomSampler, TPESampler

from conftest import ROOT
from helpers.searches import draw, search_in
from vaelab.errors import UserError
from vaelab.sweep.search.sampling import Sampling

OPTIONS = sorted((ROOT / "conf/hydra/sweeper/sampler").glob("*.yaml"))
SPACE = {"x": FloatDistribution(-3.0, 3.0), "n": IntDistribution(1, 8), "word": CategoricalDistribution(["a", "b"])}


def test_another_seed_draws_other_trials(tmp_path):
    drawn = [
        Sampling(RandomSampler, {"seed": seed}, SPACE, 1).sampler(number) for seed, number in ((0, 0), (1, 0), (0, 1))
    ]
    values = [sampler.sample_independent(None, None, "x", SPACE["x"]) for sampler in drawn]
    assert len(set(values)) == 3


@pytest.mark.parametrize(
    ("kind", "space", "objectives", "sentence"),
    [
        (GridSampler, SPACE, 1, "got an interval for x"),
        (CmaEsSampler, {"n": SPACE["n"], "word": SPACE["word"]}, 1, "two or more numbers"),
        (CmaEsSampler, SPACE, 2, "one objective"),
    ],
)
def test_a_sampler_that_cannot_search_a_space_says_so(kind, space, objectives, sentence):
    with pytest.raises(UserError, match=sentence):
        Sampling(kind, {"seed": 0}, space, objectives)


def test_a_setting_that_a_sampler_does_not_know_is_a_sentence():
    with pytest.raises(UserError, match=r"hydra\.sweeper\.sampler: .*'sead'"):
        Sampling(TPESampler, {"sead": 0}, SPACE, 1)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda path: path.stem)
def test_every_option_draws_more_than_its_random_start(option, tmp_path):
    keywords = yaml.safe_load(option.read_text())
    kind = get_class(keywords.pop("_target_"))
    start = {"tpe": {"n_startup_trials": 1}, "gp": {"n_startup_trials": 1}, "nsgaii": {"population_size": 2}}
    space = {"x": IntDistribution(0, 3), "y": IntDistribution(-2, 5)}
    search = search_in(tmp_path, space, kind=kind, **{**keywords, **start.get(option.stem, {})})
    assert len(draw(search, 4)) == 4
