"""A trial tells each validation once, is given up when it is worse than others were, and survives its database."""

import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import HyperbandPruner, MedianPruner

from helpers.searches import search_in
from vaelab.errors import UserError
from vaelab.sweep.search.pruning import check_prunable, pruning_callback, validated_metric
from vaelab.sweep.search.storage import storage_url
from vaelab.training.signals import Pruned

SPACE = {"x": FloatDistribution(0.0, 1.0)}
MEDIAN = MedianPruner(n_startup_trials=1)


@pytest.fixture
def search(tmp_path):
    return search_in(tmp_path, SPACE, {"val/elbo": "maximize"}, pruner=MEDIAN)


def begin(search):
    """Draws the next trial; returns its number."""
    return next(search.batches(1, len(search.trials) + 1))[0].number


def callback(search, number, pruner=MEDIAN):
    return pruning_callback(storage_url(None, search.directory), "search", number, pruner, "elbo")


def run(search, losses, pruner=MEDIAN):
    """A trial with those negative ELBOs; returns how many epochs it was given."""
    number = begin(search)
    after_validation = callback(search, number, pruner)
    for epoch, loss in enumerate(losses, 1):
        try:
            after_validation(epoch, {"loss": 0.0, "elbo": -loss})
        except Pruned:
            return epoch
    search.study.tell(number, -losses[-1])
    return len(losses)


def test_a_trial_that_is_worse_than_the_median_is_given_up_and_a_better_one_is_not(search):
    assert run(search, [10, 8, 6]) == 3
    assert run(search, [9, 7, 5]) == 3
    assert run(search, [9.4, 9.3, 9.2]) == 2


def test_hyperband_gives_trials_up_after_the_first_and_the_third_of_nine_epochs(search):
    pruner = HyperbandPruner(min_resource=1, max_resource=9)
    given = [run(search, [1 + number] * 9, pruner) for number in range(12)]
    assert given[0] == 9
    assert set(given) == {1, 3, 9}


@pytest.mark.slow
def test_a_run_that_goes_on_tells_no_epoch_twice(search):
    number = begin(search)
    for epoch, elbo in ((1, 5.0), (2, 4.0)):
        callback(search, number)(epoch, {"elbo": elbo})
    resumed = callback(search, number)
    resumed(2, {"elbo": 99.0})
    resumed(3, {"elbo": 3.0})
    assert search.trials[number].intermediate_values == {1: 5.0, 2: 4.0, 3: 3.0}


def test_a_study_that_takes_no_more_stops_no_training(search, caplog):
    number = begin(search)
    after_validation = callback(search, number)
    search.tell(number, ended_well=False)
    after_validation(1, {"elbo": 5.0})
    assert "the run goes on" in caplog.text


def test_a_pruner_compares_a_metric_of_the_validation():
    assert validated_metric(["val/elbo"]) == validated_metric("val/elbo") == "elbo"
    assert validated_metric(["test/elbo"]) is None
    assert validated_metric(["val/kl", "val/elbo"]) is None
    check_prunable(["val/elbo"])
    for names in (["test/elbo"], ["val/kl", "val/elbo"]):
        with pytest.raises(UserError, match="a pruner must have one objective"):
            check_prunable(names)


def test_the_database_that_is_named_wins_over_the_one_in_the_directory(tmp_path):
    assert storage_url("postgresql://host/studies", tmp_path) == "postgresql://host/studies"
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path}/study.db"


def test_a_directory_that_a_url_would_read_otherwise_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a search must lie in a directory without \? in its path"):
        storage_url(None, tmp_path / "q?uri=true&z=")
