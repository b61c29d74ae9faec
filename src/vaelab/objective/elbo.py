"""The evidence lower bound, with a weight on the KL term, and with free bits."""

from torch import Tensor

from vaelab.errors import check_integer, check_number
from vaelab.objective.annealing import rise
from vaelab.parts import Model, Noise, Trace


class ELBO:
    """Negative ELBO, E_q[-log p(x|z)] + beta KL(q(z|x) || p(z)), in nats, a mean over the images.

    Kingma & Welling, 2014 (arXiv:1312.6114); with `beta` Higgins et al., 2017. Further losses of the model are added.

    With free bits the KL is sum_d max(free_bits, mean over the batch of KL_d): what a dimension takes below that costs
    nothing, so that no dimension is given up early (Kingma et al., 2016, arXiv:1606.04934). The loss is then no mean
    over images.

    Args:
        beta: weight of the KL term in the loss; 1 gives the ELBO. The reported `elbo` is never weighted.
        warmup_steps: steps over which the weight rises from 0 to beta (Bowman et al., 2016, arXiv:1511.06349); 0 for
            none.
        samples: K, samples of z for each image.
        cycles: how often it rises, each time with as many steps at beta before it starts again from 0; after the last
            it stays (Fu et al., 2019, arXiv:1903.10145).
        free_bits: nats that each dimension, or a group of latents whose KL has no closed form, may take; 0 for none.

    Raises:
        ValueError: if beta or free_bits is negative or not finite, or a count is out of range.

    Examples:
        >>> annealed = ELBO(beta=4.0, warmup_steps=100, samples=1)
        >>> annealed.weight(torch.tensor(25.0))
        tensor(1.)
    """

    compiles = True

    # the last two have defaults for the configs of runs that were saved before there were such keys
    def __init__(self, beta: float, warmup_steps: int, samples: int, cycles: int = 1, free_bits: float = 0.0) -> None:
        check_number("beta", beta, 0)
        check_integer("warmup_steps", warmup_steps, 0)
        check_integer("samples", samples, 1)
        check_integer("cycles", cycles, 1)
        check_number("free_bits", free_bits, 0)
        self.beta = beta
        self.warmup_steps = warmup_steps
        self.samples = samples
        self.cycles = cycles
        self.free_bits = free_bits
        self.has_kl = beta > 0  # a KL of no weight would be a zero gradient, by which a prior seems to be trained
        self.is_mean_over_images = not free_bits

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and no further terms."""
        trace = model(x, noise, y)
        loss = -trace.log_px.mean()
        if self.has_kl:
            loss = loss + self.weight(step) * self._kl(trace)
        return sum(trace.losses.values(), loss), trace, {}

    def weight(self, step: Tensor | None) -> float | Tensor:
        """Weight of the KL term at a training step (), or after any warm-up for None."""
        return self.beta * rise(step, self.warmup_steps, self.cycles)

    def _kl(self, trace: Trace) -> Tensor:
        if self.is_mean_over_images:
            return trace.kl.mean()
        first, *others = (latent.kl.mean(0).clamp(min=self.free_bits).sum() for latent in trace.latents)
        return sum(others, first)
