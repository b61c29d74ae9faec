"""The losses of the first 50 steps of each preset are those that were recorded, so that no change moves them unseen."""

import json
from pathlib import Path

import pytest
import torch

from helpers.small_training import trainer_of
from vaelab.machine.threads import own_number_of_threads
from vaelab.run.build import Builder

RECORDED = json.loads(Path(__file__).with_name("recorded_losses.json").read_text())
PRESETS = RECORDED["presets"]


def is_the_recorded_machine():
    """Whether sums are added in the order of the record: another kind of CPU, or another torch, has its own."""
    version = ".".join(torch.__version__.split(".")[:2])
    return (version, torch.backends.cpu.get_cpu_capability()) == (RECORDED["torch"], RECORDED["cpu"])


def losses(trainer, steps):
    """The losses of the first steps of the first epochs."""
    trainer.model.train()
    found = []
    while len(found) < steps:
        for batch in trainer.batches.epoch(trainer.progress.epoch, trainer.progress.position):
            trainer.step(*batch, grad_norm=True)
            sums, images = trainer.meter.read()
            found.append(sums["loss"] / images)
            if len(found) == steps:
                break
        else:
            trainer.progress.epoch, trainer.progress.position = trainer.progress.epoch + 1, 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_the_losses_of_a_preset_are_those_that_were_recorded(name, compose, tmp_path, request):
    preset = PRESETS[name]
    overrides = [*preset["overrides"], *RECORDED["overrides"], "trainer.device=cpu"]
    if "dataset=digits" not in overrides and name != "demo":
        overrides.append(f"dataset.root={request.getfixturevalue('data_root')}")
    with own_number_of_threads():
        torch.set_num_threads(1)
        trainer = trainer_of(Builder(compose(*overrides), None).setup(), tmp_path)
        same = is_the_recorded_machine()
        expected = preset["losses"] if same else preset["losses"][:5]
        assert losses(trainer, len(expected)) == pytest.approx(expected, rel=1e-6 if same else 1e-4)
