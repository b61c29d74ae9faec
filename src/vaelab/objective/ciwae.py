"""Between the ELBO and the importance-weighted bound."""

from torch import Tensor

from vaelab.errors import ArgumentError, check_integer, check_number
from vaelab.ops import log_mean_exp
from vaelab.parts import Model, Noise, Trace


class CIWAE:
    """Convex combination of ELBO and importance-weighted bound, -(beta ELBO + (1 - beta) IWAE), in nats.

    A mean over the images; both bounds are of the same K samples, (1/K) sum_k log w_k and log (1/K) sum_k w_k.
    Rainforth et al., 2018 (arXiv:1802.04537). Further losses of the model are added.

    Args:
        beta: weight of the ELBO, from 0 to 1.
        samples: K.

    Raises:
        ValueError: if beta is not from 0 to 1, or samples is below 1.

    Examples:
        >>> objective = CIWAE(beta=0.05, samples=8)
        >>> loss, trace, _ = objective(vae, x, vae.noise(8, len(x), torch.Generator()))
    """

    is_mean_over_images = True
    compiles = True

    def __init__(self, beta: float, samples: int) -> None:
        check_number("beta", beta, 0)
        if beta > 1:
            raise ArgumentError("beta", f"must be at most 1, the weight of the ELBO alone, got {beta!r}")
        check_integer("samples", samples, 1)
        self.beta = beta
        self.samples = samples

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and no further terms."""
        trace = model(x, noise, y)
        bound = self.beta * trace.log_w.mean() + (1 - self.beta) * log_mean_exp(trace.log_w, dim=0).mean()
        return sum(trace.losses.values(), -bound), trace, {}
