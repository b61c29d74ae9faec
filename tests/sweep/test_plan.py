"""The plan of a sweep, read from what Hydra wrote as it began."""

import pytest
import yaml

from vaelab.sweep.plan import name_of_job, planned_jobs

BASIC = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None}
SEARCH = {"_target_": "hydra_plugins.vaelab.optuna_sweeper.OptunaSweeper", "params": None, "n_trials": 20}


@pytest.fixture
def sweep(tmp_path):
    def write(sweeper, *task):
        plan = {"hydra": {"sweeper": sweeper, "overrides": {"task": list(task)}}}
        (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(plan))
        return tmp_path

    return write


def test_the_jobs_are_the_product_in_hydras_order(sweep):
    plan = planned_jobs(sweep(BASIC, "seed=0,1", "dataset=digits", "optimizer.lr=1e-3,3e-3", "seed=range(0,3)"))
    assert plan.count == 6
    assert plan.overrides[1] == ["seed=0", "dataset=digits", "optimizer.lr=0.003"]
    assert plan.overrides[-1] == ["seed=2", "dataset=digits", "optimizer.lr=0.003"]


def test_what_the_config_varies_counts_too(sweep):
    plan = planned_jobs(sweep({**BASIC, "params": {"seed": "0,1,2"}}, "latent=d2,d8"))
    assert (plan.count, plan.overrides[0]) == (6, ["seed=0", "latent=d2"])


def test_of_a_search_it_is_known_how_many_trials_there_are(sweep):
    tpe, grid = ({"sampler": {"_target_": f"optuna.samplers.{name}"}} for name in ("TPESampler", "GridSampler"))
    assert planned_jobs(sweep({**SEARCH, **tpe}, "optimizer.lr=interval(1e-4,1e-2)")).count == 20
    assert planned_jobs(sweep({**SEARCH, **grid}, "seed=range(0,3)", "model=mlp,conv")).count == 6
    assert planned_jobs(sweep({**SEARCH, **grid}, "seed=range(0,30)")).count == 20
    assert planned_jobs(sweep({**SEARCH, **tpe}, "seed=0,1")).overrides == []


def test_jobs_in_an_order_of_chance_are_only_counted(sweep):
    plan = planned_jobs(sweep(BASIC, "seed=shuffle(0,1,2)"))
    assert (plan.count, plan.overrides) == (3, [])


def test_where_it_is_not_told_nothing_is_made_up(sweep, tmp_path):
    assert planned_jobs(tmp_path) is None
    assert planned_jobs(sweep({"_target_": "someone.elses.Sweeper"}, "seed=0,1")) is None
    assert planned_jobs(sweep(BASIC, "model=glob(*)")) is None
    (tmp_path / "multirun.yaml").write_text("hydra: {sweep")
    assert planned_jobs(tmp_path) is None


def test_a_job_is_called_by_what_differs_with_rounded_numbers(sweep, tmp_path):
    given = ["optimizer.lr=0.0013385298778232698", "dataset=digits", "seed=1"]
    directory = sweep(BASIC, "optimizer.lr=0.0013385298778232698,1e-3", "dataset=digits", "seed=0,1")
    assert name_of_job(directory, 3, given) == "optimizer.lr=0.00134,seed=1"
    assert name_of_job(sweep(BASIC, *given), 3, given) == "job 3"
    assert name_of_job(tmp_path / "none", 3, given) == "optimizer.lr=0.00134,dataset=digits,seed=1"
