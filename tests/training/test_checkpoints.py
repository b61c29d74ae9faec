"""A run goes on from its checkpoint to the last bit; one that is damaged or untrusted is one sentence."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from helpers.fakes import small_dataset, small_vae
from helpers.small_training import Recorder
from helpers.states import assert_equal_states, constant, set_in, without
from vaelab.errors import UserError
from vaelab.machine.ranks import SINGLE
from vaelab.objective.elbo import ELBO
from vaelab.run.build import Builder
from vaelab.run.row_position import START, checked
from vaelab.training import checkpoint, restored
from vaelab.training.average import MovingAverage
from vaelab.training.checkpoints import Checkpoints
from vaelab.training.loop import Trainer
from vaelab.training.meter import Meter
from vaelab.training.signals import StopRequest
from vaelab.training.state import Progress

SMALL = ("dataset=digits", "logger=local", "trainer.pictures_every=0", "latent.dim=4", "model.hidden=[16]")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run's `last.pt` of the midst of an epoch, and its config."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from conftest import ROOT
    from vaelab.cli.launch import register

    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("config", [*SMALL, "trainer.ema=0.9", "trainer.epochs=3", "trainer.log_every=5"])
    config = OmegaConf.to_container(composed, resolve=True)
    trainer = in_folder(tmp_path_factory.mktemp("saved"), config)
    trainer.total_steps = 60  # of 41 an epoch
    trainer.fit()
    trainer.progress.threads = 1
    batches = trainer.batches.epoch(1, trainer.progress.position)
    for _ in range(3):
        trainer.step(*next(batches))
    trainer.save()
    trainer.checkpoints.finish()
    return checkpoint.load(trainer.run_dir / "checkpoints" / "last.pt"), config


class Positions(Recorder):
    """Takes back, as a logger does, nothing but a position among rows."""

    position = START

    def rewind(self, position):
        checked(position)


def in_folder(folder, config):
    return Trainer(Builder(config, None).setup(), Positions(), folder, StopRequest())


def restore(trainer, state, path=(), odd=None):
    """Restore from a checkpoint in which the entry at a path is another."""
    box = {"state": copy.deepcopy(state)}
    if odd is not None:
        set_in("state", *path)(box, odd)
    checkpoint.write(trainer.checkpoints.last, box["state"])
    trainer.restore()


@pytest.fixture(scope="module")
def trainer(saved, tmp_path_factory):
    """A trainer to restore into, again and again."""
    return in_folder(tmp_path_factory.mktemp("restored"), saved[1])


def test_a_checkpoint_is_restored_to_the_last_bit(saved, tmp_path):
    state, config = saved
    trainer = in_folder(tmp_path, config)
    restore(trainer, state)
    assert_equal_states(trainer.optimizer.state_dict()["state"], state["optimizer"]["state"])
    for model, name in ((trainer.model, "model"), (trainer.average.model, "average")):
        assert all(torch.equal(value, state[name][key]) for key, value in model.state_dict().items())
    assert vars(trainer.progress) == state["progress"]
    assert trainer.meter.state() == state["meter"]
    trainer.fit()


NUMBERS = (None, "3", -1, float("nan"), 10**30, 10**400, [], True)
COUNTS = ("step", "epoch", "position", "reported_step", "images", "epoch_images", "best_epoch")
TABLES = ({}, {"loss": float("nan"), "elbo": 1.0}, {"loss": "1", "elbo": 1.0}, {3: 1.0}, None, {"elbo": 1.0})

ODDITIES = [
    *(((), constant(odd)) for odd in (None, [], 3, torch.zeros(2), {})),
    *(((), without(key)) for key in ("model", "average", "optimizer", "meter", "progress", "metrics_position")),
    *(((part,), constant(odd)) for part in ("model", "optimizer", "meter", "progress") for odd in (None, [], 3, {})),
    *(((part,), constant(odd)) for part in ("average", "metrics_position") for odd in ([], 3, {})),
    *((("progress", name), constant(odd)) for name in COUNTS for odd in (*NUMBERS, 1.5)),
    *((("progress", name), constant(odd)) for name in ("seconds", "epoch_seconds") for odd in (*NUMBERS[:4], 10**400)),
    *((("progress", "threads"), constant(odd)) for odd in ("3", -1, 0, 10**9, 1.5)),
    *((("progress", name), constant(odd)) for name in ("epoch_sums", "train") for odd in TABLES),
    *((("progress", "best"), constant(odd)) for odd in TABLES[1:-1]),
    (("progress", "position"), lambda value: value + 1),
    (("progress", "position"), constant(10**6)),
    (("progress", "reported_step"), constant(10**6)),
    (("progress",), lambda found: {**found, "run_dir": "/"}),
    *((("meter", "sums"), constant(odd)) for odd in TABLES),
    *((("meter", "images"), constant(odd)) for odd in (*NUMBERS, 0, 10**6)),
    *((("metrics_position", name), constant(odd)) for name in ("bytes", "rows") for odd in NUMBERS[:5]),
    (("model", "posterior.heads.bias"), lambda value: value[:1]),
    (("average", "posterior.heads.bias"), lambda value: value.to_sparse()),
    (("optimizer", "state", 0, "exp_avg"), lambda value: value[:1]),
]


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(("path", "odd"), ODDITIES)
def test_an_odd_entry_of_a_checkpoint_is_one_sentence_before_anything_is_trained(saved, trainer, path, odd):
    with pytest.raises(UserError) as raised:
        restore(trainer, saved[0], path, odd)
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 500
    assert "cannot be gone on with" in said or "does not fit the model or the optimizer" in said


def test_every_part_of_the_progress_says_what_it_can_be(saved, trainer):
    for name in vars(Progress()):
        with pytest.raises(UserError, match=name):
            restore(trainer, saved[0], ("progress", name), constant([{}] * 3))


def test_a_run_that_is_at_its_end_is_found_to_be(saved, trainer, caplog):
    done = copy.deepcopy(saved[0])
    done["progress"] |= {"reported_step": 500, "step": 500}
    caplog.set_level("INFO")
    restore(trainer, done)
    assert "nothing is left to train" in caplog.text


# Without a run


@pytest.fixture
def kept(tmp_path):
    """A model with its average, and their checkpoints."""
    model = small_vae()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    sum(parameter.square().sum() for parameter in model.parameters()).backward()
    optimizer.step()
    average = MovingAverage(model, 0.9)
    return model, average, Checkpoints(tmp_path, model, optimizer, ELBO(1.0, 0, 1), average, least_seconds=1.0)


def test_the_best_weights_are_kept_with_the_facts_of_the_data_and_for_other_tools(kept, tmp_path):
    model, _, checkpoints = kept
    facts = small_dataset(kinds=10).facts
    checkpoints.save_best(model, facts, epoch=3, step=9, val={"elbo": -1.0})
    checkpoints.finish()
    found = restored.best(checkpoint.load(tmp_path / "checkpoints" / "best.pt"))
    assert (found.facts, found.epoch, found.val) == (facts, 3, {"elbo": -1.0})
    exported = load_file(tmp_path / "model.safetensors")
    assert exported.keys() == found.weights.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(found.weights[name], value)
        assert torch.equal(exported[name], value)


def test_of_checkpoints_that_follow_soon_only_the_first_and_the_last_take_a_disk_and_are_what_they_were(
    kept, tmp_path, monkeypatch
):
    model, _, checkpoints = kept
    written = []
    real = checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda path, state: written.append(path.name) or real(path, state))
    bias = model.posterior.heads.bias
    for epoch in range(1, 5):
        torch.nn.init.constant_(bias, epoch)
        if epoch < 4:
            checkpoints.save_best(model, small_dataset(kinds=10).facts, epoch, step=epoch, val={})
        checkpoints.save_last(Meter().state(), Progress(step=epoch), None)
    torch.nn.init.zeros_(bias)
    checkpoints.finish()
    assert written == ["best.pt", "last.pt"] * 2
    last, best = (checkpoint.load(tmp_path / "checkpoints" / name) for name in ("last.pt", "best.pt"))
    assert (last["progress"]["step"], best["epoch"]) == (4, 3)
    assert (last["model"]["posterior.heads.bias"] == 4).all()
    assert (best["model"]["posterior.heads.bias"] == 3).all()
    assert (checkpoint.load(tmp_path / "checkpoints" / "last.previous.pt")["progress"]["step"]) == 1


def test_a_search_that_asks_for_the_disk_at_each_epoch_makes_no_checkpoint_sooner(kept, monkeypatch):
    _, _, checkpoints = kept
    written = []
    monkeypatch.setattr(checkpoint, "write", lambda path, state: written.append(state["progress"]["step"]))
    for epoch in range(1, 5):
        checkpoints.finish()
        checkpoints.save_last(Meter().state(), Progress(step=epoch, seconds=0.4 * epoch), None)
    assert written == [1, 2, 3]
    checkpoints.finish()
    assert written == [1, 2, 3, 4]


def test_a_checkpoint_that_waited_too_long_by_the_clock_is_written(kept, monkeypatch):
    monkeypatch.setattr("vaelab.training.checkpoints.MOST_SECONDS", 0.0)
    _, _, checkpoints = kept
    for epoch in (1, 2):
        checkpoints.save_last(Meter().state(), Progress(step=epoch), None)
    checkpoints._later.wait()
    assert checkpoint.load(checkpoints.last)["progress"]["step"] == 2


def test_after_a_best_epoch_is_on_the_disk_the_checkpoint_that_knows_of_it_does_not_wait(kept, tmp_path):
    model, _, checkpoints = kept
    checkpoints.save_last(Meter().state(), Progress(step=1), None)
    checkpoints.save_best(model, small_dataset(kinds=10).facts, epoch=2, step=2, val={})
    checkpoints.finish()  # as before a search is told of it
    checkpoints.save_last(Meter().state(), Progress(step=2), None)
    checkpoints._later.wait()
    assert checkpoint.load(tmp_path / "checkpoints" / "last.pt")["progress"]["step"] == 2


def test_an_average_that_is_switched_on_later_begins_with_the_weights(kept):
    model, average, checkpoints = kept
    checkpoints.save_last(Meter().state(), Progress(), None)
    checkpoints.finish()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.nn.init.zeros_(model.posterior.heads.weight)
    checkpoints.load(SINGLE, Meter(), 100)
    assert average.state() is None
    for name, value in average.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_without_a_checkpoint_there_is_nothing_to_load(kept):
    assert kept[2].load(SINGLE, Meter(), 100) is None


def test_weights_stay_as_they_were_where_another_part_does_not_fit(kept):
    model, _, checkpoints = kept
    checkpoints.save_last(Meter().state(), Progress(), None)
    checkpoints.finish()
    state = checkpoint.load(checkpoints.last)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state["model"]["posterior.heads.bias"] += 1
    state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(3)
    checkpoint.write(checkpoints.last, state)
    with pytest.raises(UserError, match="does not fit the model or the optimizer"):
        checkpoints.load(SINGLE, Meter(), 100)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
