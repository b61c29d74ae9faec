"""The moving average of a model's weights."""

import copy
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """Exponential moving average of the weights, a <- decay * a + (1 - decay) * w after each step.

    It begins with the weights after the first step. Buffers of real numbers are averaged with the weights, others
    copied. Nothing in it waits for the device.

    Args:
        source: the model that is trained.
        decay: between 0 and 1.

    Attributes:
        model: a copy of the source with the averaged weights.
        begun: whether a step was taken in.
    """

    def __init__(self, source: nn.Module, decay: float) -> None:
        self.source = source
        self.decay = decay
        self.model = copy.deepcopy(source)
        self.begun = False
        pairs = list(zip(_tensors(self.model), _tensors(source), strict=True))
        self._real = [pair for pair in pairs if pair[0].is_floating_point()]
        self._other = [pair for pair in pairs if not pair[0].is_floating_point()]

    @property
    def share(self) -> float:
        """Of the weights of the next step in their average."""
        return 1 - self.decay if self.begun else 1.0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of a step."""
        averages, weights = map(list, zip(*self._real, strict=True))
        torch._foreach_lerp_(averages, weights, self.share)
        for kept, value in self._other:
            kept.copy_(value)
        self.begun = True

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint keeps of it; None before the first step."""
        return self.model.state_dict() if self.begun else None

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from what `state` gave, or begin with the weights of the source where it gave None."""
        self.model.load_state_dict(self.source.state_dict() if state is None else state)
        self.begun = state is not None


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
