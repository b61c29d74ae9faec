"""A checkpoint that is damaged or a stranger's is one sentence; no tensor of it reaches a kernel as it came."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from helpers.fakes import small_vae
from vaelab.errors import UserError
from vaelab.run.build import Builder
from vaelab.run.logger import NoLogger
from vaelab.training import checkpoint
from vaelab.training.loop import Training
from vaelab.training.restored import best, optimizer_state, weights
from vaelab.training.signals import StopRequest
from vaelab.training.state import Progress

SMALL = ("dataset=digits", "logger=local", "trainer.pictures_every=0", "latent.dim=4", "model.hidden=[16]")


def trained(kind, **settings):
    """A model and its optimizer after a step."""
    model = small_vae()
    optimizer = kind(model.parameters(), lr=0.01, **settings)
    sum(parameter.square().sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return model, optimizer


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for number in one:
        assert one[number].keys() == other[number].keys()
        assert all(torch.equal(*map(torch.as_tensor, (one[number][k], other[number][k]))) for k in one[number])


KINDS = [
    (torch.optim.Adam, {"fused": True}),
    (torch.optim.AdamW, {"amsgrad": True}),
    (torch.optim.SGD, {"momentum": 0.9}),
    (torch.optim.SGD, {}),
    (torch.optim.Adagrad, {}),
    (torch.optim.RMSprop, {"centered": True, "momentum": 0.5}),
    (torch.optim.NAdam, {}),
    (torch.optim.RAdam, {}),
    (torch.optim.Adadelta, {}),
    (torch.optim.Adafactor, {}),
    (torch.optim.ASGD, {}),
    (torch.optim.Rprop, {}),
]


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_what_an_optimizer_saved_is_restored_to_the_last_bit_into_tensors_of_its_own(kind, settings):
    model, optimizer = trained(kind, **settings)
    saved = optimizer.state_dict()
    other = kind(model.parameters(), lr=0.5, **settings)
    state = optimizer_state(saved, other)
    other.load_state_dict(state)
    assert_equal(other.state_dict()["state"], saved["state"])
    assert other.param_groups[0]["lr"] == 0.5
    places = [value.data_ptr() for kept in saved["state"].values() for value in kept.values()]
    assert not any(value.data_ptr() in places for kept in state["state"].values() for value in kept.values())


def test_a_layout_of_channels_last_stays():
    weight = nn.Parameter(torch.zeros(4, 3, 5, 5).to(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
    weight.grad = torch.randn(4, 3, 5, 5)
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["exp_avg"] = saved["state"][0]["exp_avg"].contiguous()
    average = optimizer_state(saved, optimizer)["state"][0]["exp_avg"]
    assert average.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(average, saved["state"][0]["exp_avg"])


def test_a_parameter_without_a_gradient_has_no_state_and_other_settings_keep_less():
    model, optimizer = trained(torch.optim.SGD, momentum=0.9)
    saved = optimizer.state_dict()
    saved["state"].pop(0)
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    assert not any(optimizer_state(saved, plain)["state"].values())
    assert 0 not in optimizer_state(saved, optimizer)["state"]


def set_in(*path):
    """Sets the entry of a nested state at that path to what `odd` makes of it."""

    def change(state, odd):
        *inner, last = path
        for key in inner:
            state = state[key]
        state[last] = odd(state[last])

    return change


class Odd(torch.Tensor):
    pass


def with_attribute(tensor):
    tensor = tensor.clone()
    tensor.numel = 3
    return tensor


TENSORS = {
    "shorter": lambda tensor: tensor.flatten()[:1].clone(),
    "of another shape": lambda tensor: tensor.reshape(1, *tensor.shape),
    "of another type": lambda tensor: tensor.double(),
    "sparse": lambda tensor: tensor.to_sparse(),
    "meta": lambda tensor: tensor.to("meta"),
    "quantized": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    "nested": lambda tensor: torch.nested.nested_tensor([tensor]),
    "of a subclass": lambda tensor: tensor.as_subclass(Odd),
    "with attributes": with_attribute,
    "text": lambda tensor: "weights",
    "nothing": lambda tensor: None,
    "a list": lambda tensor: tensor.tolist(),
}


@pytest.mark.filterwarnings("ignore:.*(torch.ao|quant|nested).*")
@pytest.mark.parametrize("odd", TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize("place", ["weights", "optimizer"])
def test_a_tensor_of_another_kind_is_refused(odd, place):
    model, optimizer = trained(torch.optim.Adam, fused=True)
    name = "posterior.heads.weight"
    with pytest.raises(ValueError, match=r"must be a float32 tensor \("):
        if place == "weights":
            weights("weights", {**model.state_dict(), name: odd(model.state_dict()[name])}, model)
        else:
            saved = copy.deepcopy(optimizer.state_dict())
            set_in("state", 0, "exp_avg")(saved, odd)
            optimizer_state(saved, optimizer)


@pytest.mark.parametrize("place", ["weights", "optimizer"])
def test_a_tensor_that_overlaps_itself_is_copied_into_one_that_does_not(place):
    model, optimizer = trained(torch.optim.Adam, fused=True)
    name = "posterior.heads.weight"
    if place == "weights":
        live = model.state_dict()[name]
        fresh = weights("weights", {**model.state_dict(), name: torch.ones(()).expand(live.shape)}, model)[name]
    else:
        saved = copy.deepcopy(optimizer.state_dict())
        live = saved["state"][0]["exp_avg"]
        saved["state"][0]["exp_avg"] = torch.ones(()).expand(live.shape)
        fresh = optimizer_state(saved, optimizer)["state"][0]["exp_avg"]
    assert fresh.is_contiguous()
    assert fresh.untyped_storage().nbytes() == live.numel() * 4
    assert torch.equal(fresh, torch.ones_like(live))


def constant(value):
    return lambda _: value


def without(key):
    return lambda found: {k: v for k, v in found.items() if k != key}


def impostor(found):
    """A dictionary in which an attribute, which a pickle may set, stands in for a method."""
    made = OrderedDict(found)
    made.items = made.keys = made.copy = made._metadata = 5
    return made


OPTIMIZER_ODDITIES = [
    (("state",), constant([])),
    (("state",), lambda state: {**state, 99: {}}),
    (("state",), lambda state: {**state, "0": {}}),
    (("state", 0), constant(None)),
    (("state", 0), without("exp_avg_sq")),
    (("state", 0, "step"), constant(torch.tensor(-1.0))),
    (("state", 0, "step"), constant(torch.tensor(float("nan")))),
    (("state", 0, "step"), constant(3)),
    (("param_groups",), constant(None)),
    (("param_groups",), lambda groups: groups * 2),
    (("param_groups", 0), constant(7)),
    (("param_groups", 0, "params"), constant([0])),
    (("param_groups", 0, "params"), constant("all")),
]


@pytest.mark.parametrize(("path", "odd"), OPTIMIZER_ODDITIES)
def test_an_odd_state_of_an_optimizer_is_refused(path, odd):
    _, optimizer = trained(torch.optim.Adam)
    saved = copy.deepcopy(optimizer.state_dict())
    set_in(*path)(saved, odd)
    with pytest.raises(ValueError, match="optimizer"):
        optimizer_state(saved, optimizer)


def test_a_dictionary_with_attributes_is_read_as_a_plain_one():
    model, optimizer = trained(torch.optim.Adam)
    model.load_state_dict(weights("weights", impostor(model.state_dict()), model))
    state = optimizer.state_dict()
    assert_equal(optimizer_state({**state, "state": impostor(state["state"])}, optimizer)["state"], state["state"])


@pytest.mark.parametrize("odd", [constant(None), without("posterior.heads.bias"), lambda found: {**found, "more": 1}])
def test_weights_of_other_names_are_refused(odd):
    model = small_vae()
    with pytest.raises(ValueError, match="weights must"):
        weights("weights", odd(model.state_dict()), model)


GOOD_BEST = {"vae": {}, "image_shape": [1, 8, 8], "epoch": 3, "step": 9, "val": {"elbo": -1.0}}


@pytest.mark.parametrize(
    "odd",
    [
        [],
        None,
        torch.zeros(3),
        without("val")(GOOD_BEST),
        *({**GOOD_BEST, "image_shape": shape} for shape in (None, 3, [1, 8], [1, 8, "8"], [1, -8, 8], [1, 0, 8])),
        *(
            {**GOOD_BEST, "image_shape": shape}
            for shape in ([1, 8.0, 8], [True, 8, 8], [1, 10**9, 8], [1, 10**5000, 8])
        ),
        *({**GOOD_BEST, "epoch": epoch} for epoch in (-1, "3", None, 1.5, 10**30)),
        *({**GOOD_BEST, "val": val} for val in (None, [], {1: 2.0}, {"elbo": "x"}, {"elbo": float("nan")})),
    ],
)
def test_an_odd_best_checkpoint_is_refused(odd):
    with pytest.raises(ValueError, match="must"):
        best(odd)
    assert best(GOOD_BEST).image_shape == (1, 8, 8)


# A whole run


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
    training = in_folder(tmp_path_factory.mktemp("saved"), config)
    training.logger = Builder(config, None).logger(training.run_dir)
    training.total_steps = 60  # of 41 an epoch
    training.run()
    training.progress.threads = 1
    batches = training.loader.epoch(1, training.progress.position)
    for _ in range(3):
        training.step(next(batches))
    training.save()
    training.logger.finish("killed", {})
    return checkpoint.load(training.run_dir / "checkpoints" / "last.pt"), config


def in_folder(folder, config):
    return Training(Builder(config, None).experiment(), NoLogger(), folder, StopRequest())


def resumed(saved, folder, path=(), odd=None):
    """The training after it was restored from a checkpoint in which the entry at a path is another."""
    state, config = saved
    box = {"state": copy.deepcopy(state)}
    if odd is not None:
        set_in("state", *path)(box, odd)
    training = in_folder(folder, config)
    checkpoint.save(folder / "checkpoints" / "last.pt", box["state"])
    training.restore()
    return training


def test_a_checkpoint_is_restored_to_the_last_bit(saved, tmp_path):
    training = resumed(saved, tmp_path)
    state, _ = saved
    assert_equal(training.optimizer.state_dict()["state"], state["optimizer"]["state"])
    for model, name in ((training.vae, "vae"), (training.average.model, "average")):
        assert all(torch.equal(value, state[name][key]) for key, value in model.state_dict().items())
    assert vars(training.progress) == state["progress"]
    assert training.meter.state() == state["meter"]
    training.run()


NUMBERS = (None, "3", -1, float("nan"), 10**30, 10**400, [], True)
COUNTS = ("step", "epoch", "position", "reported_step", "images", "epoch_images", "best_epoch")
TABLES = ({}, {"loss": float("nan"), "elbo": 1.0}, {"loss": "1", "elbo": 1.0}, {3: 1.0}, None, {"loss": 1.0})

ODDITIES = [
    *(((), constant(odd)) for odd in (None, [], 3, torch.zeros(2), {})),
    *(((), without(key)) for key in ("vae", "average", "optimizer", "meter", "progress", "metrics_position")),
    *(((part,), constant(odd)) for part in ("vae", "optimizer", "meter", "progress") for odd in (None, [], 3, {})),
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
    (("vae", "posterior.heads.bias"), lambda value: value[:1]),
    (("average", "posterior.heads.bias"), lambda value: value.to_sparse()),
    (("optimizer", "state", 0, "exp_avg"), lambda value: value[:1]),
]


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(("path", "odd"), ODDITIES)
def test_an_odd_entry_of_a_checkpoint_is_one_sentence_before_anything_is_trained(saved, path, odd, tmp_path):
    with pytest.raises(UserError) as raised:
        resumed(saved, tmp_path, path, odd)
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 500
    assert "cannot be gone on with" in said or "does not fit the model or the optimizer" in said


def test_every_part_of_the_progress_says_what_it_can_be(saved, tmp_path):
    for name in vars(Progress()):
        with pytest.raises(UserError, match=name):
            resumed(saved, tmp_path, ("progress", name), constant([{}] * 3))


def test_a_run_that_is_at_its_end_is_found_to_be(saved, tmp_path, caplog):
    state, config = saved
    done = copy.deepcopy(state)
    done["progress"] |= {"reported_step": 500, "step": 500}
    caplog.set_level("INFO")
    resumed((done, config), tmp_path)
    assert "nothing is left to train" in caplog.text
