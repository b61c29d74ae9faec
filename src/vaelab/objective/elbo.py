"""The evidence lower bound, with a weight on the KL term."""

from torch import Tensor

from vaelab.errors import check_integer, check_number
from vaelab.parts import Model, Noise, Trace


class ELBO:
    """Negative ELBO, E_q[-log p(x|z)] + beta KL(q(z|x) || p(z)), in nats, a mean over the images.

    Kingma & Welling, 2014 (arXiv:1312.6114); with `beta` Higgins et al., 2017. Further losses of the model are added.

    Args:
        beta: weight of the KL term in the loss; 1 gives the ELBO. The reported `elbo` is never weighted.
        warmup_steps: steps over which the weight rises from 0 to beta (Bowman et al., 2016, arXiv:1511.06349); 0 for
            none.
        samples: K, samples of z for each image.

    Raises:
        ValueError: if beta is negative or not finite, or a count is out of range.
    """

    is_mean_over_images = True
    compiles = True

    def __init__(self, beta: float, warmup_steps: int, samples: int) -> None:
        check_number("beta", beta, 0)
        check_integer("warmup_steps", warmup_steps, 0)
        check_integer("samples", samples, 1)
        self.beta = beta
        self.warmup_steps = warmup_steps
        self.samples = samples

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and no further terms."""
        trace = model(x, noise, y)
        loss = self.weight(step) * trace.kl.mean() - trace.log_px.mean()
        return sum(trace.losses.values(), loss), trace, {}

    def weight(self, step: Tensor | None) -> float | Tensor:
        """Weight of the KL term at a training step (), or after any warm-up for None."""
        if step is None or not self.warmup_steps:
            return self.beta
        return self.beta * (step / self.warmup_steps).clamp(max=1)
