"""A training step shared by ranks: each makes it on its rows of the batch, and all have the same sums."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vaelab.machine.ranks import Ranks
from vaelab.parts import Noise
from vaelab.training.step import EagerStep, Values


class SharedStep:
    """The eager step of a whole batch, of which each rank computes its rows.

    A mean over the batch's images is the weighted sum of the rows' means, for the loss, its gradient and its terms, and
    also for buffers of real numbers that the forward pass changes in place by means over images, such as the statistics
    of a codebook; running variances, as of a batch norm, are no such means.

    Args:
        eager: the step on one rank.
        ranks: this process among them.
        wants_to_stop: whether this rank was asked to stop, which the others are told with the sums.

    Attributes:
        stop_votes: how many ranks were asked to stop before the last step, ().
    """

    def __init__(self, eager: EagerStep, ranks: Ranks, wants_to_stop: Callable[[], bool]) -> None:
        self.eager = eager
        self.ranks = ranks
        self.wants_to_stop = wants_to_stop
        self.stop_votes = torch.zeros(())

    def __call__(self, x: Tensor, noise: Noise, step: int, y: Tensor | None = None, grad_norm: bool = False) -> Values:
        """As `TrainStep`."""
        rows = self.ranks.rows_of(len(x))
        weight = (rows.stop - rows.start) / len(x)
        if weight == 0:
            rows = slice(1)  # without an image there would be no mean to weight
        before = {name: buffer._version for name, buffer in self.eager.model.named_buffers()}
        own = self.eager.backward(x[rows], _rows_of(noise, rows), step, None if y is None else y[rows])
        changed = [
            buffer
            for name, buffer in self.eager.model.named_buffers()
            if buffer.is_floating_point() and buffer._version != before.get(name)
        ]
        return self.eager.update(self._summed(own, changed, weight), step, grad_norm)

    def _summed(self, values: Values, buffers: Sequence[Tensor], weight: float) -> Values:
        """Replace gradients and buffers by those of the whole batch, in one message; return the batch's values."""
        trained = [parameter for parameter in self.eager.model.parameters() if parameter.grad is not None]
        message = [*values.values(), *(parameter.grad for parameter in trained), *buffers]
        sums, self.stop_votes = self.ranks.all_reduce(message, weight, self.wants_to_stop())
        found = iter(sums)
        # copied, for they are kept until they are reported, and they are views of all that was summed
        values = {name: next(found).clone() for name in values}
        for parameter in trained:
            parameter.grad = next(found)
        for buffer in buffers:
            buffer.copy_(next(found))
        return values


def _rows_of(noise: Noise, rows: slice) -> Any:
    """The noise of these images: each tensor of it is (K, B, ...)."""
    return tuple(_rows_of(each, rows) for each in noise) if isinstance(noise, tuple) else noise[:, rows]
