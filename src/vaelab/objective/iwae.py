"""The importance-weighted bound, with three estimators of its gradient."""

from torch import Tensor

from vaelab.errors import check_choice, check_integer
from vaelab.objective.latents import only_group
from vaelab.ops import log_mean_exp
from vaelab.parts import Model, Noise, Trace

GRADIENTS = ("standard", "stl", "dreg")


class IWAE:
    """Negative importance-weighted bound on log p(x), -log (1/K) sum_k p(x, z_k) / q(z_k|x), in nats.

    A mean over the images; with K = 1 the ELBO, and log p(x) as K grows. Burda et al., 2016 (arXiv:1509.00519).
    Further losses of the model are added. The estimators have the same value; as K grows, the signal of `standard` for
    the encoder sinks below its noise. `stl` leaves out the score of q, which is unbiased for K = 1 only and has no
    variance where q is exact; for K > 1 it is *biased* (Roeder et al., 2017, arXiv:1703.09194). `dreg`
    weights the path through z by the squared normalised weights instead, which is unbiased for any K (Tucker et al.,
    2019, arXiv:1810.04152). The decoder's and the prior's gradient is always the bound's.

    Args:
        samples: K.
        gradient: `standard`, `stl` or `dreg`; the last two for one group of latents.

    Raises:
        ValueError: if samples is below 1, or the gradient is none of these.

    Examples:
        >>> objective = IWAE(samples=5, gradient="dreg")
        >>> loss, trace, _ = objective(vae, x, vae.noise(5, len(x), torch.Generator()))
    """

    is_mean_over_images = True
    compiles = True

    def __init__(self, samples: int, gradient: str) -> None:
        check_integer("samples", samples, 1)
        check_choice("gradient", gradient, GRADIENTS)
        self.samples = samples
        self.gradient = gradient

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and no further terms."""
        trace = model(x, noise, y)
        log_w = trace.log_w if self.gradient == "standard" else self._without_score(trace)
        loss = -log_mean_exp(log_w, dim=0).mean()
        return sum(trace.losses.values(), loss), trace, {}

    def _without_score(self, trace: Trace) -> Tensor:
        """The log weights (K, B), of which the encoder gets a gradient through z alone."""
        latent = only_group(trace, f"objective.gradient={self.gradient}")
        if latent.log_q is None:
            return trace.log_w  # which says what is missing
        log_w = trace.log_px + latent.log_p - latent.q.detached().log_prob(latent.z)
        if self.gradient == "dreg" and latent.z.requires_grad:
            weights = log_w.detach().softmax(0).unsqueeze(-1)  # (K, B, 1); of the square the loss brings one factor
            latent.z.register_hook(lambda gradient: gradient * weights)
        return log_w
