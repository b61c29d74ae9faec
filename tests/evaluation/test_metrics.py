"""The table of metrics and the figure of merit."""

import pytest

from vaelab.evaluation.metrics import METRICS, UP, changes_meaning, label, merit, metric, own_metrics


def test_the_figure_of_merit_is_the_validation_elbo_whatever_the_loss_and_without_validation_that_of_training():
    assert merit({"val/elbo": -30.0, "val/loss": 17.0, "train/elbo": -29.0}) == -30.0
    assert merit({"train/elbo": -29.0, "train/loss": 17.0, "test/elbo": -31.0}) == -29.0
    assert merit({}) is None


def test_a_split_is_no_part_of_a_metric_but_of_its_label():
    assert metric("test/bits_per_dim") == metric("bits_per_dim") == METRICS["bits_per_dim"]
    assert (label("test/bits_per_dim"), label("val/elbo"), label("kl")) == ("test bits/dim", "val ELBO", "KL")


def test_a_metric_of_ones_own_has_its_own_name_and_no_unit_or_better_direction():
    own = metric("val/iwae")
    assert (own.label, own.unit, own.better) == ("iwae", "", None)
    assert own_metrics(["val/elbo", "val/iwae", "test/loss", "test/mmd"]) == ["test/mmd", "val/iwae"]


def test_every_name_of_the_table_is_its_key_and_the_elbo_is_better_up():
    assert all(name == found.name for name, found in METRICS.items())
    assert METRICS["elbo"].better == UP


@pytest.mark.parametrize(
    ("key", "loss", "elbo"),
    [
        ("objective.beta", True, False),
        ("objective", True, False),
        ("+objective.warmup_steps", True, False),
        ("likelihood", True, True),
        ("likelihood.sigma", True, True),
        ("dataset.binarize", True, True),
        ("optimizer.lr", False, False),
        ("objectives", False, False),
        ("model", False, False),
        ("dataset.root", False, False),
    ],
)
def test_a_weight_changes_what_a_loss_means_and_a_likelihood_what_an_elbo_means_too(key, loss, elbo):
    assert changes_meaning(key, "val/loss") is loss
    assert changes_meaning(key, "val/elbo") is elbo
    assert changes_meaning(key, "test/bits_per_dim") is elbo
