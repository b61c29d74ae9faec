"""What a search leaves: the best trial with the command that runs it again, and pictures that show all trials."""

import shlex

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution

from helpers.fakes import pixels
from helpers.searches import search_in
from vaelab.sweep.search.report import write_best, write_pictures
from vaelab.sweep.search.space import as_overrides

SPACE = {"x": FloatDistribution(0.0, 1.0), "model.hidden": CategoricalDistribution(["[8]", "[8,8]"])}


@pytest.fixture
def search_of(tmp_path):
    def make(objectives, count, value=lambda params: params["x"]):
        search = search_in(tmp_path, SPACE, objectives, fixed=["dataset=digits"])
        for (trial,) in search.batches(1, count):
            search.study.tell(trial.number, [value(trial.params)] * len(objectives))
        return search

    return make


def test_the_best_trial_can_be_run_again_with_its_command(search_of, tmp_path):
    search = search_of({"val/loss": "minimize"}, 6)
    write_best(search)
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    number = min(range(6), key=lambda number: search.trials[number].params["x"])
    trial = search.trials[number]
    assert best["trial"] == number
    assert best["values"] == {"val/loss": trial.params["x"]}
    assert best["directory"] == str(tmp_path / str(number))
    assert best["overrides"] == ["dataset=digits", *as_overrides(trial.params)]
    assert shlex.split(best["command"]) == ["vaelab", "train", *best["overrides"]]
    write_best(search, ["--config-dir=my own"])
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert shlex.split(best["command"]) == ["vaelab", "train", "--config-dir=my own", *best["overrides"]]


def test_of_several_objectives_the_whole_front_is_kept(search_of, tmp_path):
    search = search_of({"val/kl": "minimize", "val/elbo": "maximize"}, 6)
    write_best(search)
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["objectives"] == {"val/kl": "minimize", "val/elbo": "maximize"}
    assert [entry["trial"] for entry in best["pareto_front"]] == list(range(6))


@pytest.mark.slow
@pytest.mark.parametrize("objectives", [{"val/loss": "minimize"}, {"val/kl": "minimize", "val/elbo": "maximize"}])
def test_the_pictures_are_drawn(objectives, search_of, tmp_path):
    write_pictures(search_of(objectives, 8))
    for name in ("optimization_history.png", "param_importances.png"):
        picture = pixels(tmp_path / name)
        assert picture.shape[1] > 600
        assert picture.std() > 10


def test_where_nothing_is_complete_nothing_is_written(search_of, tmp_path):
    search = search_of({"val/loss": "minimize"}, 0)
    write_best(search)
    write_pictures(search)
    assert {path.name for path in tmp_path.iterdir()} == {"study.db"}


@pytest.mark.parametrize("count", [1, 6])
def test_where_trials_tell_no_importances_none_are_drawn(count, search_of, tmp_path):
    write_pictures(search_of({"val/loss": "minimize"}, count, value=lambda params: 1.0))
    assert (tmp_path / "optimization_history.png").exists()
    assert not (tmp_path / "param_importances.png").exists()
