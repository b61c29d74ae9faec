"""No tensor or value of an untrusted checkpoint is used as it came."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from helpers.fakes import small_vae
from helpers.states import assert_equal_states, constant, set_in, without
from vaelab.parts import Facts
from vaelab.training.restored import best, optimizer_state, weights


def trained(kind, **settings):
    """A model and its optimizer after a step."""
    model = small_vae()
    optimizer = kind(model.parameters(), lr=0.01, **settings)
    sum(parameter.square().sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return model, optimizer


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
    assert_equal_states(other.state_dict()["state"], saved["state"])
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
    assert_equal_states(
        optimizer_state({**state, "state": impostor(state["state"])}, optimizer)["state"], state["state"]
    )


@pytest.mark.parametrize("odd", [constant(None), without("posterior.heads.bias"), lambda found: {**found, "more": 1}])
def test_weights_of_other_names_are_refused(odd):
    model = small_vae()
    with pytest.raises(ValueError, match="weights must"):
        weights("weights", odd(model.state_dict()), model)


FACTS = {"image_shape": [1, 8, 8], "num_classes": 10, "train_size": 1300}
GOOD_BEST = {"model": {}, "objective": None, "facts": FACTS, "epoch": 3, "step": 9, "val": {"elbo": -1.0}}
SHAPES = (None, 3, [1, 8], [1, 8, "8"], [1, -8, 8], [1, 0, 8], [1, 8.0, 8], [True, 8, 8], [1, 10**9, 8])


@pytest.mark.parametrize(
    "odd",
    [
        [],
        None,
        torch.zeros(3),
        without("val")(GOOD_BEST),
        {**GOOD_BEST, "more": 1},
        *({**GOOD_BEST, "facts": facts} for facts in (None, [], {}, without("train_size")(FACTS), {**FACTS, "x": 1})),
        *({**GOOD_BEST, "facts": {**FACTS, "image_shape": shape}} for shape in (*SHAPES, [1, 10**5000, 8])),
        *({**GOOD_BEST, "facts": {**FACTS, "num_classes": count}} for count in (0, -1, "10", 1.5, 10**9)),
        *({**GOOD_BEST, "facts": {**FACTS, "train_size": count}} for count in (-1, "10", None, 10**30)),
        *({**GOOD_BEST, "epoch": epoch} for epoch in (-1, "3", None, 1.5, 10**30)),
        *({**GOOD_BEST, "val": val} for val in (None, [], {1: 2.0}, {"elbo": "x"}, {"elbo": float("nan")})),
    ],
)
def test_an_odd_best_checkpoint_is_refused(odd):
    with pytest.raises(ValueError, match="must"):
        best(odd)


def test_a_best_checkpoint_is_read_whole():
    found = best(GOOD_BEST)
    assert (found.weights, found.epoch, found.val) == ({}, 3, {"elbo": -1.0})
    assert found.facts == Facts((1, 8, 8), 10, 1300)
    assert best({**GOOD_BEST, "facts": {**FACTS, "num_classes": None}}).facts.num_classes is None
