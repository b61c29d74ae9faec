"""The evidence lower bound, with a weight on the KL term."""

from torch import Tensor

from vaelab.errors import check_integer, check_number
from vaelab.vae import Trace


class ELBO:
    """-ELBO as the loss, the KL term weighted by beta (Kingma & Welling, 2014; beta-VAE, Higgins et al., 2017).

    Args:
        beta: weight of the KL term in the loss; 1 gives the ELBO. The term `elbo` is never weighted.
        warmup_steps: steps over which the weight rises from 0 to beta (Bowman et al., 2016); 0 for none.
        samples: K, samples of z for each image.

    Raises:
        ValueError: if beta is negative or not finite, or a count is out of range.
    """

    def __init__(self, beta: float, warmup_steps: int, samples: int) -> None:
        check_number("beta", beta, 0)
        check_integer("warmup_steps", warmup_steps, 0)
        check_integer("samples", samples, 1)
        self.beta = beta
        self.warmup_steps = warmup_steps
        self.samples = samples

    def __call__(self, trace: Trace, step: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its terms, each a mean over the images in nats.

        Args:
            trace: of a batch.
            step: the training step as a tensor (), or None for the loss after any warm-up, as evaluation wants it.
        """
        reconstruction = trace.log_px.mean()
        kl = trace.kl.mean()
        beta: float | Tensor = self.beta
        if step is not None and self.warmup_steps:
            beta = self.beta * (step / self.warmup_steps).clamp(max=1)
        return beta * kl - reconstruction, {
            "elbo": reconstruction - kl,
            "reconstruction": reconstruction,
            "kl": kl,
        }
