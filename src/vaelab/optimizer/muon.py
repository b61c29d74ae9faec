"""Muon: steps of orthogonal matrices."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.errors import ArgumentError, check_number, is_number

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # a, b, c: singular values end between 0.7 and 1.2 after five rounds
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made nearly orthogonal, for weights of layers; Adam for all other parameters.

    W <- W - lr sqrt(max(1, rows / columns)) U V^T, where U S V^T is the gradient's moving average with Nesterov's
    step ahead: all directions of a matrix are learned at one speed. A convolution's weight is a matrix with a row for
    each channel that it gives. On the MLPs of VAEs it needs about a third of Adam's steps, each of which takes longer.

    Jordan et al., 2024, Muon: an optimizer for hidden layers in neural networks.

    Args:
        params: all parameters.
        layers: those that are weights of linear layers and convolutions; of transposed convolutions they are not.
        lr: of the layers' weights.
        momentum: decay of the average of their gradients.
        adam_lr: learning rate of the others.
        adam_betas: of the others.
        adam_eps: of the others.

    Raises:
        ValueError: if a number is out of range.

    Examples:
        >>> layer = nn.Linear(8, 4)
        >>> adam = {"adam_lr": 0.003, "adam_betas": (0.9, 0.99), "adam_eps": 1e-8}
        >>> optimizer = Muon(layer.parameters(), [layer.weight], lr=0.02, momentum=0.95, **adam)
        >>> layer(torch.ones(2, 8)).sum().backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        layers: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        adam_lr: float,
        adam_betas: Sequence[float],
        adam_eps: float,
    ) -> None:
        check_number("lr", lr, 0, above=True)
        check_number("adam_lr", adam_lr, 0, above=True)
        _check_decays("momentum", momentum, [momentum], 1)
        _check_decays("adam_betas", adam_betas, adam_betas, 2)
        layers = list(layers)
        known = {id(weight) for weight in layers}
        others = [parameter for parameter in params if id(parameter) not in known]
        self._adam = torch.optim.Adam([{"params": others}], adam_lr, betas=tuple(adam_betas), eps=adam_eps, fused=True)
        super().__init__([{"params": layers, "lr": lr, "momentum": momentum}, *self._adam.param_groups], {})

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of: torch's own, which leaves attributes out, and Adam."""
        return {**super().__getstate__(), "_adam": self._adam}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update of all parameters that have a gradient."""
        group, *others = self.param_groups
        # both are replaced where a state is loaded
        self._adam.state, self._adam.param_groups = self.state, others
        self._adam.step()
        for weight in group["params"]:
            if weight.grad is not None:
                self._update(weight, weight.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        average = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(average, group["momentum"]).flatten(1)  # (rows, columns)
        rows, columns = update.shape
        weight.sub_(orthogonal(update).view_as(weight), alpha=group["lr"] * max(1.0, rows / columns) ** 0.5)


def _check_decays(name: str, given: object, decays: object, count: int) -> None:
    is_list = isinstance(decays, list | tuple) and len(decays) == count
    if not is_list or not all(is_number(decay) and 0 <= decay < 1 for decay in decays):
        wanted = "a number" if count == 1 else f"{count} numbers"
        raise ArgumentError(name, f"must be {wanted} of at least 0 and below 1, got {given!r}")


def orthogonal(matrix: Tensor) -> Tensor:
    """U V^T of U S V^T, nearly: (rows, columns) with singular values between 0.7 and 1.2.

    Five rounds of Newton and Schulz's iteration, X <- a X + (b A + c A A) X with A = X X^T, in bfloat16.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix / (matrix.norm() + 1e-7)).bfloat16()
    x = x.T if is_tall else x
    for _ in range(ROUNDS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if is_tall else x).to(matrix.dtype)
