"""The contract carries what the field has built: each preset samples, evaluates, is exported and shared by ranks."""

import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import ROOT
from helpers.small_training import Recorder, assert_trains_compiled_as_eagerly, train, trainer_of
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.machine.ranks import Ranks
from vaelab.ops import generator
from vaelab.posterior import delta
from vaelab.run.build import Builder
from vaelab.training.loop import Trainer
from vaelab.training.shared import SharedStep
from vaelab.training.signals import StopRequest
from vaelab.training.step import EagerStep

PRESETS = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
WITHOUT_ELBO = {"aae", "autoencoder", "fsq_vae", "rae_gp", "rae_l2", "rae_mnist", "vq_vae", "wae_mmd"}


@pytest.fixture
def setup_of(compose):
    """Builds a preset on the digits."""

    def build(name, *overrides):
        small = ("dataset=digits", "logger=local", "trainer.batch_size=64", *overrides)
        return Builder(compose(f"experiment={name}", *small), None).setup()

    return build


@pytest.mark.parametrize("name", PRESETS)
def test_it_evaluates_and_samples_from_the_noise_given_and_no_other(name, setup_of, tmp_path):
    setup = setup_of(name)
    trainer_of(setup, tmp_path)  # which chooses its step
    model, dataset = setup.model.eval(), setup.dataset
    state = torch.get_rng_state()
    metrics = evaluate(model, setup.objective, dataset, dataset.test(), 100)
    assert metrics == evaluate(model, setup.objective, dataset, dataset.test(), 100)
    assert ("elbo" in metrics) == (name not in WITHOUT_ELBO)
    assert {"reconstruction", "loss"} <= metrics.keys()
    y = torch.arange(6) if model.takes_labels else None
    one, same = (model.sample(6, generator(5, "samples"), y) for _ in range(2))
    assert torch.equal(one, same)
    assert one.shape == (6, 1, 8, 8)
    assert one.min() >= 0
    assert one.max() <= 1
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", PRESETS)
def test_its_weights_are_there_once_and_go_to_other_tools(name, setup_of, tmp_path):
    state = setup_of(name).model.state_dict()
    places = [value.untyped_storage().data_ptr() for value in state.values() if value.numel()]
    assert len(set(places)) == len(places)
    save_file(state, tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors").keys() == state.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        *((name, []) for name in ("mixture_vae", "iwae", "beta_tcvae")),
        ("dreg_iwae", ["prior=flow", "prior.transforms=2", "prior.hidden=[8]"]),
    ],
)
def test_its_compiled_step_is_its_eager_one(name, overrides, setup_of, tmp_path):
    assert_trains_compiled_as_eagerly(lambda: setup_of(name, "model.hidden=[16]", *overrides), tmp_path)


class Shares(Ranks):
    """Ranks that are threads of this process, which add up what each sends."""

    def connect(self, barrier, messages):
        object.__setattr__(self, "_place", (barrier, messages))
        return self

    def all_reduce(self, tensors, weight, vote):
        barrier, messages = self._place
        messages[self.rank] = [weight * tensor.detach() for tensor in tensors]
        barrier.wait()
        sums = [sum(parts) for parts in zip(*messages, strict=True)]
        barrier.wait()
        return sums, torch.zeros(())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vq_vae", "ladder_vae", "vamp_vae", "conditional_vae", "dreg_iwae", "iaf_vae"])
def test_ranks_that_share_its_batch_have_the_step_of_one(name, setup_of, tmp_path):
    alone, *shared = (trainer_of(setup_of(name), tmp_path) for _ in range(3))
    barrier, messages = threading.Barrier(2), [None, None]
    for rank, trainer in enumerate(shared):
        step = EagerStep(trainer.model, trainer.objective, trainer.optimizer, None)
        ranks = Shares(rank, 2).connect(barrier, messages)
        trainer.train_step = SharedStep(step, ranks, lambda: False)
    threads = [threading.Thread(target=train, args=(trainer, 3)) for trainer in shared]
    for thread in threads:
        thread.start()
    train(alone, 3)
    for thread in threads:
        thread.join()
    for key, value in alone.model.state_dict().items():
        torch.testing.assert_close(shared[0].model.state_dict()[key], value, rtol=1e-3, atol=1e-4)
        assert torch.equal(shared[0].model.state_dict()[key], shared[1].model.state_dict()[key])


class Silent(Ranks):
    def broadcast_tensors(self, tensors):
        pass


@pytest.mark.parametrize("name", ["beta_tcvae", "info_vae", "dip_vae_i", "factor_vae", "aae", "sigma_vae"])
def test_a_loss_that_compares_the_images_of_a_batch_is_refused_to_ranks(name, setup_of, tmp_path):
    with pytest.raises(UserError, match=r"of a batch, of which each of 2 ranks would|which 2 ranks would train apart"):
        Trainer(setup_of(name), Recorder(), tmp_path, StopRequest(), Silent(0, 2))


def test_facts_go_by_name_to_the_parts_that_ask_for_them(setup_of, compose):
    setup = setup_of("beta_tcvae")
    assert setup.objective.train_size == len(setup.dataset.train.images) == 1300
    assert len(setup_of("conditional_vae").model.prior.mean) == 10
    with pytest.raises(UserError, match="objective has no key 'train_size'"):
        Builder(compose("experiment=beta_tcvae", "dataset=digits", "+objective.train_size=5"), None).setup()


def test_labels_that_are_not_there_are_refused_at_start(setup_of, monkeypatch):
    monkeypatch.setattr("vaelab.dataset.images.Dataset.num_classes", 7)
    with pytest.raises(UserError, match="labels of digits must be from 0 to 6, got 0 to 9"):
        setup_of("conditional_vae")


def test_a_loss_of_the_model_has_a_name_of_its_own(setup_of, monkeypatch):
    monkeypatch.setattr(delta.Point, "losses", {"kl": torch.zeros(())}, raising=False)
    with pytest.raises(UserError, match="a loss of the model may not be named kl"):
        setup_of("autoencoder")


def test_a_loss_that_leaves_weights_as_they_are_says_which(setup_of, caplog):
    setup_of("ms_ssim_vae", "likelihood=gaussian", "dataset.binarize=none", "objective.reconstruction=0")
    assert "MSSSIM does not train likelihood.raw_log_sigma" in caplog.text
