"""The beta-VAE whose KL follows a capacity that rises."""

from torch import Tensor

from vaelab.errors import check_integer, check_number
from vaelab.objective.annealing import rise
from vaelab.parts import Model, Noise, Trace


class Capacity:
    """KL held at a rising capacity, E_q[-log p(x|z)] + gamma |KL - C|, in nats.

    KL is the mean of KL(q(z|x) || p(z)) over the batch, C rises linearly from 0. Burgess et al., 2018
    (arXiv:1804.03599). Further losses of the model are added.

    Args:
        gamma: weight of the distance between the KL and C.
        capacity: the last C, in nats.
        capacity_steps: over which C rises; 0 for the last C from the first step on.
        samples: K, samples of z for each image.

    Raises:
        ValueError: if a number is negative or not finite, or a count is out of range.

    Examples:
        >>> objective = Capacity(gamma=100.0, capacity=25.0, capacity_steps=1000, samples=1)
        >>> objective.target(torch.tensor(200.0))
        tensor(5.)
    """

    is_mean_over_images = False
    compiles = True

    def __init__(self, gamma: float, capacity: float, capacity_steps: int, samples: int) -> None:
        check_number("gamma", gamma, 0)
        check_number("capacity", capacity, 0)
        check_integer("capacity_steps", capacity_steps, 0)
        check_integer("samples", samples, 1)
        self.gamma = gamma
        self.capacity = capacity
        self.capacity_steps = capacity_steps
        self.samples = samples

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and no further terms."""
        trace = model(x, noise, y)
        loss = -trace.log_px.mean()
        if self.gamma:
            loss = loss + self.gamma * (trace.kl.mean() - self.target(step)).abs()
        return sum(trace.losses.values(), loss), trace, {}

    def target(self, step: Tensor | None) -> float | Tensor:
        """C in nats at a training step (), or the last one for None."""
        return self.capacity * rise(step, self.capacity_steps)
