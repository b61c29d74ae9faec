"""Metrics over epochs."""

import pytest

from vaelab.evaluation.curves import charts, training_curve


def test_a_training_mean_is_a_number_whatever_steps_a_row_names():
    rows = [
        {"step": 1e299, "epoch": 1, "x": 2e299},
        {"step": 5, "epoch": 1, "x": 7.0},
        {"step": 2.5e299, "epoch": 1, "x": 4e299},
    ]
    assert training_curve(rows, "x") == [(1, pytest.approx(2e299 + 2e299 * (2.5 / 3.5)))]
    assert training_curve([{"step": 1, "epoch": 1, "x": 1.0}, {"step": 4, "epoch": 1, "x": 5.0}], "x") == [(1, 4.0)]


def test_the_loss_is_drawn_where_a_run_has_no_elbo():
    elbo, other = {"step", "val/elbo", "val/kl", "val/loss"}, {"val/reconstruction", "val/loss"}
    assert charts([elbo]) == ["elbo", "kl"]
    assert charts([other]) == ["reconstruction", "loss"]
    assert charts([elbo, other, set()]) == ["elbo", "reconstruction", "kl", "loss"]
    assert charts([]) == []
