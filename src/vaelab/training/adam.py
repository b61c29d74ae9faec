"""Adam's update in plain tensor operations, on the moments that torch.optim keeps."""

import math

import torch
from torch import Tensor


def is_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer's update is the one written here."""
    known = type(optimizer) in (torch.optim.Adam, torch.optim.AdamW)
    return known and not any(group["amsgrad"] or group["maximize"] for group in optimizer.param_groups)


def has_moments(optimizer: torch.optim.Optimizer) -> bool:
    """Whether Adam has made a step, so that its moments are there."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return all("exp_avg" in optimizer.state.get(parameter, {}) for parameter in parameters if parameter.requires_grad)


class Adam:
    """Adam's update (Kingma & Ba, 2015, arXiv:1412.6980), or AdamW's (Loshchilov & Hutter, 2019, arXiv:1711.05101).

    Args:
        optimizer: torch's, with one group of parameters, whose settings are used.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        (self._group,) = optimizer.param_groups
        self.beta1, self.beta2 = self._group["betas"]
        self.eps = self._group["eps"]
        self.weight_decay = self._group["weight_decay"]
        self.decoupled = isinstance(optimizer, torch.optim.AdamW) or self._group.get("decoupled_weight_decay", False)

    def numbers(self, t: int) -> tuple[float, float, float]:
        """The learning rate now, 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t) for update number t, from 1."""
        return self._group["lr"], 1 / (1 - self.beta1**t), 1 / math.sqrt(1 - self.beta2**t)

    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: dict[str, Tensor],
        lr: Tensor,
        corrections: tuple[Tensor, Tensor],
        wanted: Tensor,
    ) -> None:
        """Change weight and state in place where `wanted` () is true."""
        decayed = weight
        if self.weight_decay and self.decoupled:
            decayed = weight - lr * self.weight_decay * weight
        elif self.weight_decay:
            gradient = gradient + self.weight_decay * weight
        mean = torch.lerp(state["exp_avg"], gradient, 1 - self.beta1)
        square = self.beta2 * state["exp_avg_sq"] + (1 - self.beta2) * gradient * gradient
        step = lr * corrections[0] * mean / (square.sqrt() * corrections[1] + self.eps)
        weight.copy_(torch.where(wanted, decayed - step, weight))
        state["exp_avg"].copy_(torch.where(wanted, mean, state["exp_avg"]))
        state["exp_avg_sq"].copy_(torch.where(wanted, square, state["exp_avg_sq"]))
        state["step"].add_(wanted)
