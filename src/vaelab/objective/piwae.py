"""One importance-weighted bound for the encoder and another for the decoder."""

import torch
from torch import Tensor

from vaelab.errors import check_integer
from vaelab.objective.latents import check_tensor, only_group
from vaelab.ops import log_mean_exp
from vaelab.parts import Model, Noise, Trace


class PIWAE:
    """Mean of M bounds of K samples for the encoder, one bound of all M K for the decoder and the prior, in nats.

    The value is the negative bound of all M K samples, log (1/(M K)) sum_mk w_mk, a mean over the images; q(z|x) gets
    the gradient of (1/M) sum_m log (1/K) sum_k w_mk instead, whose signal to noise is larger. Rainforth et al., 2018
    (arXiv:1802.04537). Further losses of the model are added. Each sample is decoded twice, in one pass, for a
    backward pass can give it one weight only.

    Args:
        bounds: M.
        samples_per_bound: K.

    Raises:
        ValueError: if a count is below 1.

    Examples:
        >>> PIWAE(bounds=8, samples_per_bound=8).samples
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
        what = "PIWAE, which trains q and p apart,"  # a ladder's share a trunk
        check_tensor(noise, what)
        trace = model(x, torch.cat([noise, noise]), y)  # one pass, so that running means move once a step
        latent = only_group(trace, what)
        first_w = trace.log_w[: len(noise)]  # (M K, B)
        log_w = first_w.unflatten(0, (self.bounds, -1))  # (M, K, B)
        encoder = -log_mean_exp(log_w, dim=1).mean()
        weights = first_w.detach().softmax(0)  # of the bound of all samples, (M K, B)
        own = (log_w.detach().softmax(1) / self.bounds).flatten(0, 1)  # what `encoder` gives each sample
        # what the decoder and the prior must get beyond that, by the samples again, whose gradient stops at z
        if latent.z.requires_grad:
            latent.z.register_hook(lambda gradient: torch.cat([gradient[: len(noise)], torch.zeros_like(noise)]))
        log_p = (trace.log_px + latent.log_p)[len(noise) :]
        decoder = ((own - weights) * log_p).sum(0).mean()
        loss = encoder + decoder
        value = -log_mean_exp(first_w.detach(), dim=0).mean()
        return sum(trace.losses.values(), value + loss - loss.detach()), trace, {}
