"""A training step as one compiled graph: forward, backward and Adam's update, with no return to Python in between.

A small network spends as long in Python and in autograd's bookkeeping as in its matrix products. `torch.optim` breaks a
graph around its own step, so Adam's update is written out here; it works on the moments that torch.optim's Adam keeps,
so that compiled and eager steps can follow each other and a checkpoint does not tell them apart.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from vaelab.training.loss import Loss
from vaelab.vae import VAE

# Measured on two cores with a 784-400-20 network: compiling takes 6 s, 3 s where it was done before, and saves 0.7 ms
# of each step.
PAYS_FROM_STEPS = 8_000
# A step is compiled for one model and one size of batch, and keeps both: to check that at each call takes 0.2 ms.
OPTIONS = {"guard_filter_fn": lambda guards: [False] * len(guards), "size_asserts": False}


def is_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer's update is the one that a compiled step makes."""
    known = type(optimizer) in (torch.optim.Adam, torch.optim.AdamW)
    return known and not any(group["amsgrad"] or group["maximize"] for group in optimizer.param_groups)


def pays(vae: VAE, optimizer: torch.optim.Optimizer, steps: int, device: torch.device) -> bool:
    """Whether compiling is expected to save more time than it takes; it was measured on CPUs only."""
    # convolutions stay the same library's, and take nearly all of the step: no gain
    has_convolutions = any(isinstance(module, nn.Conv2d) for module in vae.modules())
    return device.type == "cpu" and not has_convolutions and is_adam(optimizer) and steps >= PAYS_FROM_STEPS


def has_moments(optimizer: torch.optim.Optimizer) -> bool:
    """Whether Adam has made a step, so that its moments are there."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return all("exp_avg" in optimizer.state.get(parameter, {}) for parameter in parameters)


class CompiledStep:
    """Forward, backward and update of a training step; a loss that is not finite changes no weight.

    Args:
        loss: what to minimise; the weights are changed in place.
        optimizer: Adam or AdamW that has made a step, so that its moments are there.
        pixels: from a uint8 batch, and the uniform numbers that binarise it, to what the model sees.
        grad_clip: largest norm of the gradient, or None.
        step: steps that the run has made.
    """

    def __init__(
        self,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        pixels: Callable[[Tensor, Tensor | None], Tensor],
        grad_clip: float | None,
        step: int,
    ) -> None:
        (self.group,) = optimizer.param_groups
        weights = {name: parameter.detach() for name, parameter in loss.named_parameters()}  # the same memory
        states = [optimizer.state[parameter] for parameter in loss.parameters()]
        self.steps_before_adam = step - int(states[0]["step"])  # a run can be resumed with another optimizer
        decoupled = isinstance(optimizer, torch.optim.AdamW) or self.group.get("decoupled_weight_decay", False)
        adam = _Adam(self.group, decoupled)

        def loss_and_terms(weights: dict[str, Tensor], x: Tensor, eps: Tensor, step: Tensor) -> tuple[Tensor, dict]:
            return functional_call(loss, weights, (x, eps, step))

        def whole_step(
            batch: Tensor,
            uniform: Tensor | None,
            eps: Tensor,
            step: Tensor,
            lr: Tensor,
            corrections: tuple[Tensor, Tensor],
        ) -> dict[str, Tensor]:
            gradients, (value, terms) = grad_and_value(loss_and_terms, has_aux=True)(
                weights, pixels(batch, uniform), eps, step
            )
            if grad_clip is not None:
                norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
                scale = (grad_clip / (norm + 1e-6)).clamp(max=1)
                gradients = {name: gradient * scale for name, gradient in gradients.items()}
            finite = value.isfinite()
            for (name, weight), state in zip(weights.items(), states, strict=True):
                adam.update(weight, gradients[name], state, lr, corrections, finite)
            return {"loss": value, **terms}

        # Graphs are kept by code object, at most eight for each, and a sweep has more jobs than that.
        whole_step.__code__ = whole_step.__code__.replace()
        self._whole_step = torch.compile(whole_step, dynamic=False, fullgraph=True, options=OPTIONS)

    def __call__(self, batch: Tensor, uniform: Tensor | None, eps: Tensor, step: int) -> dict[str, Tensor]:
        """The loss with its terms; the first call compiles.

        Args:
            batch: uint8 (B, C, H, W), B the same in every call.
            uniform: numbers in [0, 1) in the shape of the batch, or None.
            eps: standard normal noise (K, B, D).
            step: steps made before this one.
        """

        def scalar(value: float) -> Tensor:  # a number of the graph's own would be compiled into it
            return torch.full((), value, device=batch.device)  # torch.tensor would wait for a GPU

        beta1, beta2 = self.group["betas"]
        count = step + 1 - self.steps_before_adam
        corrections = scalar(1 / (1 - beta1**count)), scalar(1 / math.sqrt(1 - beta2**count))
        return self._whole_step(batch, uniform, eps, scalar(float(step)), scalar(self.group["lr"]), corrections)


class _Adam:
    """Adam's update (Kingma & Ba, 2015), or AdamW's (Loshchilov & Hutter, 2019), with the settings of a group."""

    def __init__(self, group: dict, decoupled: bool) -> None:
        self.beta1, self.beta2 = group["betas"]
        self.eps = group["eps"]
        self.weight_decay = group["weight_decay"]
        self.decoupled = decoupled

    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: dict[str, Tensor],
        lr: Tensor,
        corrections: tuple[Tensor, Tensor],
        wanted: Tensor,
    ) -> None:
        """Change weight and state in place where `wanted` is true; corrections 1 / (1 - b1^t), 1 / sqrt(1 - b2^t)."""
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
