"""What a checkpoint holds, held against the objects that it is to be restored into.

A checkpoint that is damaged, or not trusted, holds any tensors and plain values. Torch copies the state of an
optimizer as it comes, and its kernels then write past the end of what is too small or overlaps itself. Here every value
is checked before it is used, and every tensor copied into a fresh one in the layout of the live one.

What does not fit raises ValueError, in words that begin with the name of the entry.
"""

import copy
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.dataset.images import MOST_CLASSES
from vaelab.errors import one_line
from vaelab.parts import Facts, Objective
from vaelab.training.step import has_networks

LARGEST_COUNT = 10**15  # of steps or images
LARGEST_SIDE = 100_000  # pixels of an image


def entries(name: str, saved: object, keys: Iterable[str]) -> dict[str, Any]:
    """A plain dictionary of what was saved, which has these keys and no other."""
    found, expected = _plain(name, saved), set(keys)
    for key in sorted(expected - found.keys()):
        raise ValueError(f"{name} must have {key!r}, which is missing")
    for key in found.keys() - expected:
        raise ValueError(f"{name} must have {', '.join(sorted(expected))}, got {_short(key)} too")
    return found


def count(name: str, saved: Any) -> int:
    """A number of steps, images or rows."""
    if type(saved) is not int or not 0 <= saved <= LARGEST_COUNT:
        raise ValueError(f"{name} must be an integer from 0 to {LARGEST_COUNT:.0e}, got {_short(saved)}")
    return saved


def at_least_zero(name: str, saved: Any) -> float:
    """A finite number, such as one of seconds."""
    if type(saved) not in (int, float) or not 0 <= saved <= sys.float_info.max:
        raise ValueError(f"{name} must be a finite number of at least 0, got {_short(saved)}")
    return float(saved)


def metrics(name: str, saved: object) -> dict[str, float]:
    """Finite values by the names of metrics."""
    found = _plain(name, saved)
    for key, value in found.items():
        if not isinstance(key, str):
            raise ValueError(f"{name} must have names of metrics as keys, got {_short(key)}")
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise ValueError(f"{name} must hold finite numbers, got {_short(value)} for {_short(key)}")
    return found


def sums(name: str, saved: object, counted: int) -> dict[str, float]:
    """What was summed up over so many steps or images: nothing where there were none, else the loss at least."""
    found = metrics(name, saved)
    if counted and "loss" not in found:
        raise ValueError(f"{name} must hold loss, got {_short(list(found))}")
    if found and not counted:
        raise ValueError(f"{name} must be empty where nothing was counted, got {_short(list(found))}")
    return found


@dataclass(frozen=True)
class Best:
    """What `best.pt` holds: weights of the model and of the objective's networks are yet to be checked against them."""

    weights: object
    objective: object
    facts: Facts
    epoch: int
    val: dict[str, float]


def best(saved: object) -> Best:
    """The best checkpoint, all but its weights checked."""
    found = entries("best.pt", saved, ("model", "objective", "facts", "epoch", "step", "val"))
    facts, epoch = _facts(found["facts"]), count("epoch", found["epoch"])
    return Best(found["model"], found["objective"], facts, epoch, metrics("val", found["val"]))


def _facts(saved: object) -> Facts:
    found = entries("facts", saved, (part.name for part in fields(Facts)))
    shape, classes = found["image_shape"], found["num_classes"]
    if not isinstance(shape, list) or len(shape) != 3:
        raise ValueError(f"image_shape must be a list of channels, height and width, got {_short(shape)}")
    if not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in shape):
        raise ValueError(f"image_shape must hold integers from 1 to {LARGEST_SIDE:,}, got {_short(shape)}")
    if classes is not None and not 1 <= count("num_classes", classes) <= MOST_CLASSES:
        raise ValueError(f"num_classes must be from 1 to {MOST_CLASSES:,}, got {_short(classes)}")
    channels, height, width = shape
    return Facts((channels, height, width), classes, count("train_size", found["train_size"]))


def networks(saved: object, objective: Objective) -> dict[str, Any] | None:
    """What `load_state_dict` of an objective's own networks takes; None where it has none."""
    return weights("objective", saved, objective) if has_networks(objective) else None


def weights(name: str, saved: object, model: nn.Module) -> dict[str, Any]:
    """Weights and buffers for `model.load_state_dict`: its names, shapes and types, in fresh tensors."""
    live = model.state_dict()  # begun with, for it carries the versions of the model's own modules
    found = entries(name, saved, live)
    for key, value in live.items():
        if isinstance(value, Tensor):
            live[key] = _fresh(f"{name}.{key}", found[key], value)
        else:  # `get_extra_state` of a module of the person's own
            live[key] = found[key]
    return live


def optimizer_state(saved: object, live: torch.optim.Optimizer) -> dict[str, Any]:
    """The state for `live.load_state_dict`, in fresh tensors; settings such as the learning rate stay the live ones."""
    found = entries("optimizer", saved, ("state", "param_groups"))
    groups = live.state_dict()["param_groups"]
    _check_groups(found["param_groups"], groups)
    expected = _state_after_a_step(live)
    parameters = sum(len(group["params"]) for group in groups)
    state = {}
    for number, values in _plain("optimizer.state", found["state"]).items():
        if type(number) is not int or not 0 <= number < parameters:
            raise ValueError(f"optimizer.state must be of the parameters 0 to {parameters - 1}, got {_short(number)}")
        state[number] = _state_of_one(f"optimizer.state.{number}", values, expected.get(number, {}))
    return {"state": state, "param_groups": groups}


def _check_groups(saved: object, live: list[dict[str, Any]]) -> None:
    if not isinstance(saved, list) or len(saved) != len(live):
        raise ValueError(f"optimizer.param_groups must be a list of {len(live)}, got {_short(saved)}")
    for number, (one, other) in enumerate(zip(saved, live, strict=True)):
        numbers = _plain("optimizer.param_groups", one).get("params")
        if numbers != other["params"]:
            found = f"{len(numbers)}" if isinstance(numbers, list) else _short(numbers)
            raise ValueError(
                f"group {number} of the optimizer must have {len(other['params'])} parameters, got {found}"
            )


def _state_after_a_step(live: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """What such an optimizer keeps of each parameter: found by a step of a copy, with parameters of its own."""
    parameters = [parameter for group in live.param_groups for parameter in group["params"]]
    own = {id(parameter): torch.zeros_like(parameter, requires_grad=True) for parameter in parameters}
    twin = copy.deepcopy(live, dict(own))
    for parameter in own.values():
        parameter.grad = torch.ones_like(parameter)
    twin.step()
    return twin.state_dict()["state"]


def _state_of_one(name: str, saved: object, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a parameter; one that got no gradient has none, and what other settings kept is left out."""
    found = _plain(name, saved)
    if not found:
        return {}
    fresh = {}
    for key, value in expected.items():
        if key not in found:
            raise ValueError(f"{name} must have {key!r}, which is missing")
        if isinstance(value, Tensor):
            fresh[key] = _fresh(f"{name}.{key}", found[key], value)
        elif type(found[key]) is type(value) and isinstance(value, int | float | None):
            fresh[key] = found[key]
        else:
            raise ValueError(f"{name}.{key} must be of the kind of {_short(value)}, got {_short(found[key])}")
        if key == "step":  # what it corrects is divided by 1 - beta ** step
            at_least_zero(f"{name}.step", fresh[key].tolist() if isinstance(fresh[key], Tensor) else fresh[key])
    return fresh


@torch.no_grad()
def _fresh(name: str, saved: object, live: Tensor) -> Tensor:
    """A copy on the CPU, in the layout of the live tensor, of a saved one that has its shape and type."""
    expected = f"a {str(live.dtype).removeprefix('torch.')} tensor {tuple(live.shape)}"
    if type(saved) not in (Tensor, nn.Parameter) or vars(saved):  # an attribute could stand in for a method
        raise ValueError(f"{name} must be {expected}, got {_short(saved)}")
    if saved.layout is not torch.strided or saved.is_nested or saved.device.type != "cpu":
        raise ValueError(f"{name} must be {expected} that lies in memory as a whole, got another kind of tensor")
    if saved.dtype != live.dtype or saved.shape != live.shape:
        came = f"{str(saved.dtype).removeprefix('torch.')} {tuple(saved.shape)}"
        raise ValueError(f"{name} must be {expected}, got {came}")
    return torch.empty_like(live, device="cpu", requires_grad=False).copy_(saved)


def _plain(name: str, saved: object) -> dict[Any, Any]:
    """A dictionary, whatever kind it was saved as: one with attributes could have some that stand in for methods."""
    if not isinstance(saved, dict):
        raise ValueError(f"{name} must be a dictionary, got {_short(saved)}")
    return dict(dict.items(saved))


def _short(value: object) -> str:
    """What came, in a few words; never the contents of a tensor or of something large."""
    if isinstance(value, int) and abs(value) > LARGEST_COUNT:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, str | int | float):
        return one_line(repr(value)[:80])
    if isinstance(value, list | tuple) and len(value) <= 6:
        return f"[{', '.join(map(_short, value))}]"[:200]
    return f"a {type(value).__name__}"
