"""The precision in which cumulative distributions are inverted."""

from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """x as float64, whose numbers near 1 are dense enough for a tail; as it is on MPS, which has none."""
    return x if x.device.type == "mps" else x.double()
