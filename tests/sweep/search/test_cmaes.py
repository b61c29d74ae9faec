"""CMA-ES that is rebuilt from the trials draws as Optuna's own does, and unpickles nothing."""

import os
import pickle

import numpy as np
import optuna
import pytest
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import FloatDistribution
from optuna.samplers import CmaEsSampler
from optuna.trial import TrialState

from helpers.searches import draw, search_in, sql
from vaelab.errors import UserError
from vaelab.sweep.search.cmaes import _rebuilt, rebuilt_from_trials

SPACE = {"x": FloatDistribution(-3.0, 3.0), "y": FloatDistribution(-1.0, 5.0)}


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


CMAES = [
    {},
    *(pytest.param(more, marks=pytest.mark.slow) for more in ({"use_separable_cma": True}, {"with_margin": True})),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("settings", CMAES)
def test_cmaes_reads_no_pickle_and_writes_none_and_draws_the_same(settings, tmp_path):
    expected = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        expected.append(draw(search_in(tmp_path / name, SPACE, kind=CmaEsSampler, **settings), 13))
    assert expected[0] == expected[1]
    attributes = [key for trial in search_in(tmp_path / "one", SPACE).trials for key in trial.system_attrs]
    assert attributes
    assert not [key for key in attributes if "optimizer" in key]
    bomb = pickle.dumps(Evil(tmp_path / "pwned")).hex()
    for prefix in ("cma", "sepcma", "cmawm"):
        row = (f"{prefix}:optimizer:0", f'"{bomb}"')
        statement = "INSERT INTO trial_system_attributes (trial_id, key, value_json) SELECT trial_id, ?, ? FROM trials"
        sql(tmp_path / "two", (statement, row))
    goes_on = [draw(search_in(tmp_path / name, SPACE, kind=CmaEsSampler, **settings), 7) for name in ("one", "two")]
    assert goes_on[0] == goes_on[1]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_optimizer_that_is_rebuilt_is_the_one_that_optuna_keeps(direction):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = CmaEsSampler(seed=0)
    study = optuna.create_study(sampler=sampler, direction=direction)
    while len(study.trials) < 60:
        trial = study.ask(SPACE)
        value = trial.params["x"] ** 2 + trial.params["y"] ** 2
        study.tell(trial, value if trial.number % 7 else None, None if trial.number % 7 else TrialState.FAIL)
    study.ask(SPACE)
    completed = sampler._get_trials(study)
    found = _rebuilt(CmaEsSampler(seed=5), study, SPACE, completed)
    kept = sampler._restore_optimizer(completed)
    while found.generation > kept.generation:  # the last generation is told at the draw
        told = sampler._get_solution_trials(completed, kept.generation)[: kept.population_size]
        transform = _SearchSpaceTransform(SPACE, transform_step=True, transform_0_1=True)
        sign = 1 if direction == "minimize" else -1
        kept.tell([(transform.transform(trial.params), sign * trial.value) for trial in told])
    assert found.generation == kept.generation > 5
    for name in ("_mean", "_C", "_sigma", "_p_sigma", "_pc"):
        np.testing.assert_allclose(getattr(found, name), getattr(kept, name), rtol=1e-9)


def test_cmaes_of_an_optuna_that_works_in_another_way_is_refused():
    sampler = CmaEsSampler(seed=0)

    class Other:
        sample_relative = sampler.sample_relative

    with pytest.raises(UserError, match="works with Optuna"):
        rebuilt_from_trials(Other())
