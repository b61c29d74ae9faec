"""A search goes on where it was interrupted, counts what failed, and is never mixed with another one."""

import json
import subprocess
import sys

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner
from optuna.samplers import CmaEsSampler, GPSampler, GridSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from conftest import clean_environment
from helpers.searches import LOSS, search_in
from vaelab.errors import UserError

SPACE = {"x": FloatDistribution(-3.0, 3.0), "n": IntDistribution(1, 8), "word": CategoricalDistribution(["a", "b"])}
BOTH = {"val/kl": "minimize", "val/elbo": "maximize"}


def search_of(folder, space=SPACE, objectives=LOSS, kind=TPESampler, fixed=("seed=1",), **options):
    if kind in (TPESampler, GPSampler):
        options["n_startup_trials"] = 3
    return search_in(folder, space, objectives, kind, fixed, **options)


def loss(trial) -> float:
    return trial.params["x"] ** 2 + trial.params.get("n", 0) + 0.5


def finish(search, n_trials, size=1, interrupted_in=None):
    """Run a search to its end, or leave it in the midst of a batch with that number; returns the batches' numbers."""
    numbers = []
    for batch in search.batches(size, n_trials):
        numbers.append([trial.number for trial in batch])
        if interrupted_in in numbers[-1]:
            break
        for trial in batch:
            end(search, trial.number, loss(trial))
    return numbers


def end(search, number, value):
    """A job that finished with that loss."""
    summary(search.directory, number, status="finished", metrics={"val/loss": value})
    search.tell(number, ended_well=True)


def drawn_by(search):
    return [trial.params for trial in search.trials]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (TPESampler, 1),
        (TPESampler, 3),
        (RandomSampler, 1),
        (GPSampler, 1),
        (CmaEsSampler, 1),
        (CmaEsSampler, 3),
        (NSGAIISampler, 3),
        (GridSampler, 3),
    ],
)
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(kind, size, tmp_path):
    space = {"x": IntDistribution(-3, 3), "n": IntDistribution(1, 8)} if kind is GridSampler else SPACE
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    whole = search_of(tmp_path / "one", space, kind=kind)
    finish(whole, 9, size)
    finish(search_of(tmp_path / "two", space, kind=kind), 9, size, interrupted_in=4)
    again = search_of(tmp_path / "two", space, kind=kind)
    numbers = finish(again, 9, size)
    assert [number for batch in numbers for number in batch] == list(range(4 // size * size, 9))
    assert drawn_by(again) == drawn_by(whole)
    assert len({str(drawn) for drawn in drawn_by(whole)}) == 9


def test_a_batch_to_go_on_with_has_consecutive_numbers_for_the_launcher_counts_on(tmp_path):
    search = search_of(tmp_path)
    for batch in search.batches(6, 6):
        for trial in batch:
            if trial.number in (1, 2):
                end(search, trial.number, loss(trial))
        break
    assert finish(search_of(tmp_path), 9, size=2) == [[0], [3, 4], [5], [6, 7], [8]]


def test_a_trial_that_was_not_drawn_to_its_end_is_a_failed_one(tmp_path):
    search = search_of(tmp_path)
    search.study.ask({"x": SPACE["x"]})
    assert finish(search_of(tmp_path), 3) == [[1], [2]]
    assert search_of(tmp_path).trials[0].state == TrialState.FAIL


def test_a_search_that_is_at_its_end_has_nothing_left_and_can_go_on_with_more_trials(tmp_path):
    finish(search_of(tmp_path), 3)
    assert finish(search_of(tmp_path), 3) == []
    assert finish(search_of(tmp_path), 2) == []
    assert finish(search_of(tmp_path), 5) == [[3], [4]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"space": {**SPACE, "x": FloatDistribution(-3.0, 4.0)}}, "variables"),
        ({"space": {name: SPACE[name] for name in ("x", "n")}}, "variables"),
        ({"objectives": {"val/loss": "maximize"}}, "objectives"),
        ({"objectives": {"val/kl": "minimize"}}, "objectives"),
        ({"fixed": ["seed=2"]}, "fixed overrides"),
    ],
)
def test_a_search_for_something_else_is_refused(change, named, tmp_path):
    finish(search_of(tmp_path), 1)
    with pytest.raises(UserError, match=f"was begun with other {named};"):
        search_of(tmp_path, **change)
    assert finish(search_of(tmp_path), 2) == [[1]]


def test_in_a_shared_database_a_study_belongs_to_one_directory(tmp_path):
    shared = {"storage": f"sqlite:///{tmp_path}/shared.db"}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    finish(search_of(tmp_path / "one", **shared), 2)
    with pytest.raises(UserError, match=r"other directory;.*hydra\.sweeper\.study_name"):
        search_of(tmp_path / "two", **shared)
    assert finish(search_of(tmp_path / "two", study_name="another", **shared), 1) == [[0]]


@pytest.mark.slow
def test_a_directory_that_was_moved_goes_on(tmp_path):
    (tmp_path / "one").mkdir()
    finish(search_of(tmp_path / "one"), 2)
    (tmp_path / "one").rename(tmp_path / "two")
    assert finish(search_of(tmp_path / "two"), 3) == [[2]]


@pytest.mark.parametrize("returned", [None, float("nan"), float("inf"), "words"])
def test_a_trial_that_fails_or_is_not_finite_is_a_failed_one_and_the_best_another(returned, tmp_path):
    search = search_of(tmp_path)
    values = iter([3.0, returned, 2.0])
    for (trial,) in search.batches(1, 3):
        value = next(values)
        if value is None:
            search.tell(trial.number, ended_well=False)
        else:
            end(search, trial.number, value)
    assert [trial.state.name for trial in search.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert [trial.number for trial in search.best] == [2]


def summary(folder, number, **content):
    (folder / str(number)).mkdir(exist_ok=True)
    (folder / str(number) / "summary.json").write_text(json.dumps(content))


def test_several_objectives_are_read_from_the_summaries(tmp_path):
    search = search_of(tmp_path, objectives=BOTH)
    for (trial,), (kl, elbo) in zip(search.batches(1, 4), [(1, -9), (2, -8), (3, -9), (4, None)], strict=True):
        metrics = {"val/kl": kl, "val/elbo": elbo} if elbo else {"val/kl": kl}
        summary(tmp_path, trial.number, status="finished", metrics=metrics)
        search.tell(trial.number, ended_well=True)
    assert [trial.values for trial in search.trials] == [[1, -9], [2, -8], [3, -9], None]
    assert [trial.number for trial in search.best] == [0, 1]


def test_a_pruned_job_is_a_pruned_trial_and_never_the_best(tmp_path, caplog):
    caplog.set_level("INFO")
    search = search_of(tmp_path, pruner=NopPruner())
    for (trial,) in search.batches(1, 2):
        status = "pruned" if trial.number else "finished"
        summary(tmp_path, trial.number, status=status, metrics={"val/loss": 1.0 - trial.number})
        search.tell(trial.number, ended_well=True)
    assert [trial.state.name for trial in search.trials] == ["COMPLETE", "PRUNED"]
    assert [trial.number for trial in search.best] == [0]
    assert caplog.messages == ["trial 0: val/loss 1.00 (best 1.00, trial 0)", "trial 1: pruned (best 1.00, trial 0)"]


@pytest.mark.slow
def test_a_grid_visits_every_point_once_and_ends(tmp_path):
    space = {
        "a": CategoricalDistribution(["u", "v"]),
        "b": IntDistribution(0, 4, step=2),
        "c": FloatDistribution(0, 0.3, step=0.1),
    }
    search = search_of(tmp_path, space, kind=GridSampler)
    for batch in search.batches(5, 100):
        for trial in batch:
            end(search, trial.number, 1.0)
    assert len(search.trials) == 2 * 3 * 4
    assert len({str(drawn) for drawn in drawn_by(search)}) == 2 * 3 * 4
    assert {drawn["b"] for drawn in drawn_by(search)} == {0, 2, 4}


WRITER = """
import sys
from optuna.pruners import MedianPruner
from vaelab.sweep.search.pruning import pruning_callback
tell = pruning_callback(sys.argv[1], "search", int(sys.argv[2]), MedianPruner(), "loss")
for epoch in range(50):
    tell(epoch, {"loss": 1.0})
"""


@pytest.mark.slow
def test_processes_that_write_to_the_study_at_the_same_time_wait_for_each_other(tmp_path):
    search = search_of(tmp_path)
    batch = next(search.batches(6, 6))
    url = f"sqlite:///{tmp_path}/study.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(trial.number)],
            env=clean_environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for trial in batch
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, errors
    assert [len(trial.intermediate_values) for trial in search_of(tmp_path).trials] == [50] * 6
