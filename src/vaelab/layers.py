"""What several networks share."""

from collections.abc import Sequence

from torch import nn

from vaelab.errors import check_choice, check_integer

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


def check_widths(name: str, widths: Sequence[int]) -> None:
    """Raise ValueError unless `widths` is a list of at least one positive integer."""
    if not isinstance(widths, list | tuple) or not widths:
        raise ValueError(f"{name} must be a list of at least one size, such as [400], got {widths!r}")
    for width in widths:
        check_integer(f"every size in {name}", width, 1)
