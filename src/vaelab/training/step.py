"""One training step on one batch: eager, which is the reference; compiled and shared steps have its signature."""

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from vaelab.errors import UserError
from vaelab.parts import Model, Noise, Objective

ADVICE = "the last good checkpoint, if there is one, is kept; try a smaller optimizer.lr, or set trainer.grad_clip"
Values = dict[str, Tensor]  # the loss, its terms and, where it was asked for, `grad_norm`, each ()


class TrainStep(Protocol):
    """Forward, backward and update as a function of (parameters, batch, noise)."""

    def __call__(self, x: Tensor, noise: Noise, step: int, y: Tensor | None = None, grad_norm: bool = False) -> Values:
        """Change the parameters; return the loss with its terms, means over the images in nats.

        Args:
            x: images (B, C, H, W) as the model sees them.
            noise: as `model.noise` draws it, (K, B, ...).
            step: steps made before this one.
            y: labels (B,), or None.
            grad_norm: also return the norm of the gradient before any clipping.

        Raises:
            UserError: if the loss was read, as on the CPU it is in every step, and is not finite.
        """


class EagerStep:
    """The step as it is written.

    A step whose loss is not finite changes no weight and no moment. On the CPU, where it costs nothing, the loss is
    read in every step, which raises. A GPU would wait for that: there torch's fused Adam, AdamW and SGD leave
    everything as it is by themselves, and who reads the values later finds out. Other optimizers, and those of MPS,
    cannot, so that with them a GPU does wait in every step.

    Args:
        model: its parameters are changed in place.
        objective: what to minimise; networks of its own are changed by its own optimizer.
        optimizer: over these parameters.
        grad_clip: largest norm of the gradient, or None.
    """

    def __init__(
        self, model: Model, objective: Objective, optimizer: torch.optim.Optimizer, grad_clip: float | None
    ) -> None:
        self.model = model
        self.objective = objective
        self.optimizer = optimizer
        self.grad_clip = grad_clip
        self.device = next(model.parameters()).device
        self.optimizers = [optimizer, *([objective.optimizer] if has_networks(objective) else [])]
        fused = all(getattr(each, "_step_supports_amp_scaling", False) for each in self.optimizers)
        self._skips_by_itself = self.device.type == "cuda" and fused
        self._has_stepped = False

    def __call__(self, x: Tensor, noise: Noise, step: int, y: Tensor | None = None, grad_norm: bool = False) -> Values:
        """As `TrainStep`."""
        values = self.backward(x, noise, step, y)
        return self.update(values, step, grad_norm)

    def backward(self, x: Tensor, noise: Noise, step: int, y: Tensor | None) -> Values:
        """Leave the gradient of the loss in the parameters; return the loss with its terms."""
        loss, trace, terms = self.objective(self.model, x, noise, scalar(step, self.device), y)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        return {"loss": loss, **trace.terms, **terms}

    def update(self, values: Values, step: int, grad_norm: bool) -> Values:
        """Clip the gradient and let the optimizer make its step."""
        if grad_norm or self.grad_clip is not None:
            norm = clip_grad_norm_(self.model.parameters(), self.grad_clip or math.inf)
            values = {**values, "grad_norm": norm} if grad_norm else values
        # the first step makes the moments, and torch's SGD leaves them uninitialised where that step is skipped
        if self._skips_by_itself and self._has_stepped:
            for optimizer in self.optimizers:
                optimizer.found_inf = (~values["loss"].detach().isfinite()).float()
                optimizer.grad_scale = None
        else:
            require_finite(values, step)
        for optimizer in self.optimizers:
            optimizer.step()
        self._has_stepped = True
        return values


def has_networks(objective: Objective) -> bool:
    """Whether an objective has networks of its own that are trained, and so an optimizer and a state that resumes."""
    return isinstance(objective, nn.Module) and any(weight.requires_grad for weight in objective.parameters())


def scalar(value: float, device: torch.device) -> Tensor:
    """A number as a tensor () on the device; torch.tensor would wait for a GPU."""
    return torch.full((), float(value), device=device)


def require_finite(values: Mapping[str, Tensor | float], step: int) -> None:
    """Raise UserError if the loss of a step is not finite; of a tensor on a GPU, reading it waits.

    Args:
        values: the loss with its terms.
        step: steps made before this one.
    """
    loss = values["loss"]
    if not math.isfinite(loss.item() if isinstance(loss, Tensor) else loss):
        terms = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        raise UserError(f"the loss is not finite at step {step + 1} ({terms}); {ADVICE}")
