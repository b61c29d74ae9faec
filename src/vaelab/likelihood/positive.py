"""A positive number of a likelihood, such as a standard deviation: given, or learned for all pixels at once."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.errors import ArgumentError, check_number

LEARNED = "learned"
MIN_SCALE = 1e-6  # of a given scale: far below the 1 / 255 between two levels, far above what overflows
MIN_LOG_SCALE = -6.0  # of a learned one


def register_positive(
    owner: nn.Module, name: str, value: float | str, minimum: float, words: tuple[str, ...] = (LEARNED,)
) -> None:
    """Give `owner` the buffer `fixed_log_<name>`, or for `learned` the parameter `raw_log_<name>`.

    Args:
        owner: the likelihood.
        name: of the number, which is its key in the config.
        value: a number, or `learned`.
        minimum: of a given number.
        words: all that may stand in place of a number, to name them.

    Raises:
        ArgumentError: if the value is neither a number from the minimum up nor `learned`.
    """
    if value == LEARNED:
        owner.register_parameter(f"raw_log_{name}", nn.Parameter(torch.zeros(())))
        return
    if isinstance(value, str):
        raise ArgumentError(name, f"must be a positive number or {' or '.join(words)}, got {value!r}")
    check_number(name, value, minimum)
    owner.register_buffer(f"fixed_log_{name}", torch.tensor(math.log(value)))


def log_positive(owner: nn.Module, name: str, bound: float) -> Tensor:
    """The log of the number, (); of a learned one above `bound`."""
    if hasattr(owner, f"fixed_log_{name}"):
        return getattr(owner, f"fixed_log_{name}")
    return softly_above(bound, getattr(owner, f"raw_log_{name}"))


def softly_above(bound: float, raw: Tensor) -> Tensor:
    """`raw` where it is far above the bound, and never below: a density on 256 levels has no upper bound by itself."""
    return bound + F.softplus(raw - bound)
