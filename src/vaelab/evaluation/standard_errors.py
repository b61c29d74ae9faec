"""Standard errors over the images of the ELBO and its terms, which an evaluation gives as means."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vaelab.evaluation.subject import mean_and_error, nothing
from vaelab.ops import bits_per_dim
from vaelab.parts import Model, Noise, Objective, Trace


class KeepingObjective:
    """An objective that keeps the ELBO and its terms of each image that it is called with.

    Args:
        objective: to call.
        advance: called with the number of images of each call.
    """

    def __init__(self, objective: Objective, advance: Callable[[int], None] = nothing) -> None:
        self.samples = objective.samples
        self._objective = objective
        self._advance = advance
        self._kept: dict[str, list[Tensor]] = {}  # (B,) in float64, a batch each

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """What the objective gives."""
        loss, trace, terms = self._objective(model, x, noise, step, y)
        values = {"reconstruction": trace.log_px.double().mean(0)}
        if trace.has_density:
            values["kl"] = trace.kl.double()
            values["elbo"] = values["reconstruction"] - values["kl"]
        for name, value in values.items():
            self._kept.setdefault(name, []).append(value.cpu())
        self._advance(len(x))
        return loss, trace, terms

    def errors(self, metrics: dict[str, float], dims: int) -> dict[str, float]:
        """Standard errors of those metrics that are means of what was kept; `dims` are the values of an image."""
        found = {name: mean_and_error(torch.cat(values))[1] for name, values in self._kept.items()}
        if "bits_per_dim" in metrics:
            found["bits_per_dim"] = bits_per_dim(found["elbo"], dims)
        return found


def compares_images(model: Any) -> bool:
    """Whether a part of the model says that what it gives of a batch is no mean over the images."""
    return not all(getattr(part, "is_mean_over_images", True) for part in model.modules())
