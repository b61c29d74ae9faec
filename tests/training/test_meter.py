"""Sums of what steps return."""

import pytest
import torch

from vaelab.errors import UserError
from vaelab.training.meter import MOST_UNREAD, Meter


def test_a_meter_adds_in_double_precision():
    meter = Meter()
    for _ in range(3):
        meter.add({"loss": torch.tensor(1e8), "kl": torch.tensor(0.1)}, 3, 0)
    assert meter.images == 9
    sums, images = meter.read()
    assert images == 9
    assert sums["loss"] == 9e8
    assert sums["kl"] == pytest.approx(0.9, rel=1e-7)
    assert meter.read() == ({}, 0)


def test_a_meter_keeps_no_graph_and_a_save_in_between_changes_no_bit():
    values = [{"loss": torch.tensor(number / 7, requires_grad=True) * 3} for number in range(2500)]
    whole, saved = Meter(), Meter()
    for number, value in enumerate(values):
        whole.add(value, 32, number)
        saved.add(value, 32, number)
        if number % 700 == 3:
            restored = Meter()
            restored.restore(saved.state())
            saved = restored
    assert not any(kept["loss"].requires_grad for kept, *_ in whole._unread)
    assert len(whole._unread) < MOST_UNREAD
    assert whole.read() == saved.read()


def test_the_first_step_that_was_not_finite_is_named():
    meter = Meter()
    for number in range(20):
        meter.add({"loss": torch.tensor(torch.nan if number in (7, 9) else 1.0), "kl": torch.tensor(2.0)}, 16, number)
    with pytest.raises(UserError, match=r"the loss is not finite at step 8 \(loss = nan, kl = 2\)"):
        meter.state()
