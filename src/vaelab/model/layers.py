"""What several networks share."""

from collections.abc import Sequence

from torch import nn

from vaelab.errors import ArgumentError, check_choice

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def activation_layer(name: str) -> nn.Module:
    """The activation of that name, with torch's settings; ValueError if there is none."""
    check_choice("activation", name, ACTIVATIONS.keys())
    return ACTIVATIONS[name]()


def check_widths(name: str, widths: Sequence[int], minimum: int = 1) -> None:
    """Raise ArgumentError unless `widths` is a list of at least one integer, each at least `minimum`."""
    is_list = isinstance(widths, list | tuple) and len(widths) > 0
    if not is_list or not all(type(width) is int and width >= minimum for width in widths):
        raise ArgumentError(name, f"must be a list of at least one integer of at least {minimum}, got {widths!r}")
