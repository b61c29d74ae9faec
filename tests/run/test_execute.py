"""A run that is given up after a validation ends well, with what it has reached."""

import numpy as np
import pytest
import torch

from vaelab.errors import UserError
from vaelab.run import environment
from vaelab.run import execute as execution
from vaelab.run.execute import execute
from vaelab.run.output import RunSpec
from vaelab.run.rows import read_rows
from vaelab.run.summary import read_summary
from vaelab.training import checkpoint
from vaelab.training.signals import Pruned

SMALL = ("dataset=digits", "logger=local", "trainer.pictures_every=0", "latent.dim=4", "model.hidden=[16]")


@pytest.fixture
def run(compose, tmp_path):
    """Runs three epochs and gives up after one of them; returns its value and what was asked of it."""

    def call(given_up_after, *overrides, resumed=False):
        asked = []

        def after_validation(epoch, metrics):
            assert (tmp_path / "checkpoints/best.pt").exists()
            asked.append((epoch, metrics["loss"], metrics["elbo"]))
            if epoch == given_up_after:
                raise Pruned("hopeless")

        config = compose(*SMALL, "trainer.epochs=3", "trainer.batch_size=300", *overrides)
        config.pop("trust")
        value = execute(RunSpec(config, tmp_path, [], "name", resumed=resumed), after_validation)
        return value, asked

    return call


def test_a_run_that_is_given_up_has_the_metrics_of_its_best_validation_and_no_test(run, tmp_path):
    value, asked = run(2)
    summary = read_summary(tmp_path)
    assert [epoch for epoch, *_ in asked] == [1, 2]
    assert summary["status"] == "pruned"
    assert summary["epochs"] == 2
    _, loss, elbo = min(asked, key=lambda told: told[1])
    assert (value, loss) == (summary["metrics"]["val/elbo"], summary["metrics"]["val/loss"])
    assert value == elbo
    assert {name.split("/")[0] for name in summary["metrics"]} == {"train", "val"}
    assert all("step" in row and len(row) > 2 for row in read_rows(tmp_path))


def test_a_run_that_is_given_up_after_its_last_epoch_is_a_finished_one(run, tmp_path):
    run(3)
    summary = read_summary(tmp_path)
    assert summary["status"] == "finished"
    assert "test/loss" in summary["metrics"]


def test_a_run_that_was_given_up_can_be_gone_on_with(run, tmp_path):
    run(1)
    _, asked = run(None, resumed=True)
    assert [epoch for epoch, *_ in asked] == [2, 3]
    assert read_summary(tmp_path)["status"] == "finished"


def test_a_run_does_not_go_on_with_images_that_have_changed(run, tmp_path):
    levels = np.random.default_rng(0).integers(256, size=(600, 8, 8), dtype=np.uint8)
    own = ("dataset=array", f"dataset.path={tmp_path}/x.npy", f"dataset.root={tmp_path}/data")
    np.save(tmp_path / "x.npy", levels)
    run(1, *own)
    assert read_summary(tmp_path)["images"].startswith("x-")
    np.save(tmp_path / "x.npy", 255 - levels)
    with pytest.raises(UserError, match=r"was trained on the images in x-.*, and these, or .*, have changed since"):
        run(None, *own, resumed=True)


OWN = """
from vaelab.objective.elbo import ELBO

class Own(ELBO):
    def __call__(self, model, x, noise, step=None, y=None):
        loss, trace, terms = super().__call__(model, x, noise, step, y)
        return loss, trace, {**terms, "mmd": trace.kl.var()}
"""


def test_a_term_of_an_objective_of_ones_own_reaches_the_table(inline, tmp_path, monkeypatch):
    (tmp_path / "own_objective.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    settings = ("trainer.epochs=1", "objective._target_=own_objective.Own", "hydra.run.dir=run")
    code, out, err = inline(*SMALL, *settings)
    assert code == 0, err
    (row,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["mmd"]]
    metrics = read_summary(tmp_path / "run")["metrics"]
    assert row[1:] == [f"{metrics[f'{split}/mmd']:.2f}" for split in ("train", "val", "test")]


@pytest.mark.slow
def test_while_settings_are_tuned_the_test_images_are_not_looked_at(run, tmp_path, monkeypatch):
    monkeypatch.setattr("vaelab.dataset.images.Dataset.test", lambda self: pytest.fail("the test images were read"))
    run(None, "trainer.evaluate_test=false")
    summary = read_summary(tmp_path)
    assert summary["status"] == "finished"
    assert not [name for name in summary["metrics"] if name.startswith("test/")]


def test_only_epochs_with_a_validation_are_asked_about(run):
    _, asked = run(None, "trainer.evaluate_every=2")
    assert [epoch for epoch, *_ in asked] == [2, 3]


def test_the_summary_names_the_device_that_the_run_used(run, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "device_name", lambda device: f"name of {device}")
    run(1, "trainer.device=cpu")
    assert read_summary(tmp_path)["versions"]["device"] == "name of cpu"


def test_a_run_sets_its_precision_whatever_the_one_before_it_set_and_records_it(run, tmp_path, monkeypatch):
    def read_switches():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    def watched(training):
        switches.append(read_switches())
        return train(training)

    switches, train = [], execution._fit
    monkeypatch.setattr(execution, "_fit", watched)
    matmul, convolutions = read_switches()
    torch.set_float32_matmul_precision("high")  # as a job of a sweep in tf32 would
    torch.backends.cudnn.allow_tf32 = True
    try:
        run(1, "trainer.precision=float32")
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolutions
    assert switches == [("highest", False)]
    assert read_summary(tmp_path)["setting"]["precision"] == "float32"


def test_a_model_that_does_not_fit_in_memory_is_named(run):
    with pytest.raises(UserError, match="out of memory: the model did not fit; choose smaller networks"):
        run(1, "model.hidden=[10000000000000]")


@pytest.mark.slow
@pytest.mark.parametrize("odd", [[], {"epoch": "three"}, {"val": {"elbo": "x"}}, {"model": {}}])
def test_an_odd_best_checkpoint_of_a_run_at_its_end_is_one_sentence(odd, run, tmp_path):
    run(None)
    best = tmp_path / "checkpoints" / "best.pt"
    checkpoint.write(best, {**checkpoint.load(best), **odd} if odd else odd)
    with pytest.raises(UserError, match=r"the best checkpoint in .* does not fit the model"):
        run(None, resumed=True)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"no rows\n" * 100])
def test_a_run_whose_rows_were_damaged_goes_on_to_its_end_and_says_so_once(damage, run, tmp_path, caplog):
    run(None)
    (tmp_path / "metrics.jsonl").write_bytes(damage)
    run(None, "trainer.epochs=4", resumed=True)
    assert read_summary(tmp_path)["status"] == "finished"
    assert read_rows(tmp_path)[-1]["epoch"] == 4
    assert (tmp_path / "metrics.damaged.jsonl").read_bytes() == damage
    said = [record.message for record in caplog.records if "metrics.jsonl" in record.message]
    assert len(said) == 1
    assert "cannot be read" in said[0]
