"""The mean of several importance-weighted bounds."""

from torch import Tensor

from vaelab.errors import check_integer
from vaelab.ops import log_mean_exp
from vaelab.parts import Model, Noise, Trace


class MIWAE:
    """Mean of M importance-weighted bounds of K samples each, -(1/M) sum_m log (1/K) sum_k w_mk, in nats.

    A mean over the images. Between the ELBO (K = 1) and IWAE (M = 1): the encoder's gradient has a larger signal to
    noise than IWAE's of all M K samples. Rainforth et al., 2018 (arXiv:1802.04537). Further losses of the model are
    added.

    Args:
        bounds: M.
        samples_per_bound: K.

    Raises:
        ValueError: if a count is below 1.

    Examples:
        >>> MIWAE(bounds=8, samples_per_bound=8).samples
        64
    """

    is_mean_over_images = True
    compiles = True

    def __init__(self, bounds: int, samples_per_bound: int) -> None:
        check_integer("bounds", bounds, 1)
        check_integer("samples_per_bound", samples_per_bound, 1)
        self.bounds = bounds
        self.samples = bounds * samples_per_bound

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and no further terms."""
        trace = model(x, noise, y)
        log_w = trace.log_w.unflatten(0, (self.bounds, -1))  # (M, K, B)
        loss = -log_mean_exp(log_w, dim=1).mean()
        return sum(trace.losses.values(), loss), trace, {}
