"""A training step as one compiled graph: forward, backward and Adam's update, with no return to Python in between.

The update of another optimizer stays its own.

A small network spends as long in Python and in autograd's bookkeeping as in its matrix products. `torch.optim` breaks a
graph around its own step, so Adam's update is written out here; it works on the moments that torch.optim's Adam keeps,
so that compiled and eager steps can follow each other and a checkpoint does not tell them apart.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from math import inf

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vaelab.errors import UserError, is_out_of_memory, one_line
from vaelab.parts import Model, Noise, Objective
from vaelab.training.adam import Adam, has_moments, is_adam
from vaelab.training.clock import Clock
from vaelab.training.program import Program
from vaelab.training.step import EagerStep, Values, has_networks, require_finite, scalar

log = logging.getLogger(__name__)

# Measured on two cores with a 784-400-20 network: a compiled step takes 0.9 ms less, and compiling 12 to 28 s, once.
PAYS_FROM_STEPS = 8_000
MOST_OPERATIONS = 2_000  # 300 are of an MLP, 1,200 of one with a flow as its prior, 5,800 of a ladder


def can_compile(model: Model, objective: Objective) -> bool:
    """Whether the objective, and every module of the model that says so, can be recorded as one graph."""
    if has_networks(objective):  # whose optimizer makes a step of its own
        return False
    return objective.compiles and all(getattr(module, "compiles", True) for module in model.modules())


def pays(eager: EagerStep, steps: int) -> bool:
    """Whether compiling is expected to save more time than it takes; it was measured on CPUs only."""
    # convolutions stay the same library's, and take nearly all of the step: no gain
    has_convolutions = any(isinstance(module, nn.Conv2d) for module in eager.model.modules())
    suits = can_compile(eager.model, eager.objective) and is_adam(eager.optimizer) and not has_convolutions
    return suits and eager.device.type == "cpu" and steps >= PAYS_FROM_STEPS


class CompiledStep:
    """The eager step as one graph; a loss that is not finite changes no weight.

    A smaller last batch and the norm of the gradient would each need a graph of their own, and Adam's first step makes
    its moments: these steps are eager. A weight that the loss does not reach has a gradient of 0.

    Args:
        eager: the step.
        batch_size: of the batches that the graph is made for.
        insists: raise where it cannot be compiled, instead of going on eagerly.
        clock: paused while it is compiled.
    """

    def __init__(self, eager: EagerStep, batch_size: int, insists: bool, clock: Clock) -> None:
        self.eager = eager
        self.batch_size = batch_size
        self.insists = insists
        self.clock = clock
        self._graph: Callable[..., Values] | None = None
        self._failed = False

    def __call__(self, x: Tensor, noise: Noise, step: int, y: Tensor | None = None, grad_norm: bool = False) -> Values:
        """As `TrainStep`.

        Raises:
            UserError: if it cannot be compiled, which was insisted on, or the loss is not finite.
        """
        if self._failed or grad_norm or len(x) != self.batch_size:
            return self.eager(x, noise, step, y, grad_norm)
        values = (self._graph or self._first)(x, noise, step, y)
        if self.eager.device.type == "cpu":  # elsewhere this would wait; the graph itself left the parameters alone
            require_finite(values, step)
        return values

    def _first(self, x: Tensor, noise: Noise, step: int, y: Tensor | None) -> Values:
        """Compile once there are moments, and make the step; eager from then on where that fails, unless it insists."""
        if is_adam(self.eager.optimizer) and not has_moments(self.eager.optimizer):
            return self.eager(x, noise, step, y)
        started = time.perf_counter()
        try:
            with self.clock.paused():
                compiled = _with_adam if is_adam(self.eager.optimizer) else _without_update
                self._graph = compiled(self.eager, step, inf if self.insists else MOST_OPERATIONS)
                values = self._graph(x, noise, step, y)
        except Exception as error:  # what a compiler raises has no class in common
            if is_out_of_memory(error) or isinstance(error, UserError):  # a loss that is not finite
                raise
            if self.insists:
                message = f"the training step could not be compiled ({one_line(error, 200)}); use trainer.compile=false"
                raise UserError(message) from error
            log.warning("the training step could not be compiled and runs as it is (%s)", one_line(error, 200))
            self._failed = True
            return self.eager(x, noise, step, y)
        log.info("compiled the training step in %.1f s", time.perf_counter() - started)
        return values


class Loss(nn.Module):
    """The loss and its terms as one module, so that a call with other parameters replaces them for the prior too."""

    def __init__(self, model: Model, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, x: Tensor, noise: Noise, step: Tensor, y: Tensor | None = None) -> tuple[Tensor, Values]:
        """The loss () and its terms; RuntimeError where a step changes a buffer."""
        before = [(buffer, buffer._version) for buffer in self.buffers()]
        loss, trace, terms = self.objective(self.model, x, noise, step, y)
        if before != [(buffer, buffer._version) for buffer in self.buffers()]:
            raise RuntimeError("a step changes a buffer, which a compiled one would leave as it is")
        return loss, {**trace.terms, **terms}


def _with_adam(eager: EagerStep, steps_made: int, most: float) -> Callable[..., Values]:
    """The compiled step of (x, noise, step, y), update included; the first call compiles."""
    loss = Loss(eager.model, eager.objective)
    states = [eager.optimizer.state[parameter] for parameter in loss.parameters() if parameter.requires_grad]
    adam = Adam(eager.optimizer)
    before_adam = steps_made - int(states[0]["step"])  # a run can be resumed with another optimizer

    def whole_step(weights: Values, states: list[Values], given: tuple, lr: Tensor, *corrections: Tensor) -> Values:
        gradients, values = gradient(loss, weights, given)
        if eager.grad_clip is not None:
            norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
            scale = (eager.grad_clip / (norm + 1e-6)).clamp(max=1)
            gradients = {name: gradient * scale for name, gradient in gradients.items()}
        finite = values["loss"].isfinite()
        for (name, weight), state in zip(weights.items(), states, strict=True):
            adam.update(weight, gradients[name], state, lr, corrections, finite)
        return values

    program = Program(whole_step, (trained(loss), states), most)

    def call(x: Tensor, noise: Noise, step: int, y: Tensor | None) -> Values:
        numbers = (step, *adam.numbers(step + 1 - before_adam))
        on_device, lr, *corrections = (scalar(number, eager.device) for number in numbers)
        return program(_present(x, noise, on_device, y), lr, *corrections)

    return call


def _without_update(eager: EagerStep, _: int, most: float) -> Callable[..., Values]:
    """The step of (x, noise, step, y), of which forward and backward are compiled; the first call compiles."""
    loss = Loss(eager.model, eager.objective)
    program = Program(partial(gradient, loss), (trained(loss),), most)

    def call(x: Tensor, noise: Noise, step: int, y: Tensor | None) -> Values:
        gradients, values = program(_present(x, noise, scalar(step, eager.device), y))
        for name, parameter in loss.named_parameters():
            parameter.grad = gradients.get(name)
        return eager.update(values, step, grad_norm=False)

    return call


def trained(loss: Loss) -> Values:
    """The weights to be trained by name; the same memory."""
    return {name: parameter.detach() for name, parameter in loss.named_parameters() if parameter.requires_grad}


def _present(x: Tensor, noise: Noise, step: Tensor, y: Tensor | None) -> tuple:
    return (x, noise, step) if y is None else (x, noise, step, y)


def gradient(loss: Loss, weights: Values, given: tuple) -> tuple[Values, Values]:
    """The gradients by name, and the loss with its terms, of the model with these weights and what it is given."""
    weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    buffers = {name: buffer.clone() for name, buffer in loss.named_buffers()}
    value, terms = functional_call(loss, {**buffers, **weights}, given)
    gradients = torch.autograd.grad(value, [*weights.values()], materialize_grads=True)
    return dict(zip(weights, gradients, strict=True)), {
        name: term.detach() for name, term in {"loss": value, **terms}.items()
    }
