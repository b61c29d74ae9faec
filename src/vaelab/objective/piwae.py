"""One importance-weighted bound for the encoder and another for the decoder."""

import torch
from torch import Tensor

from vaelab.errors import check_integer
from vaelab.objective.latents import only_group
from vaelab.ops import log_mean_exp
from vaelab.parts import Model, Noise, Trace


class PIWAE:
    """Mean of M bounds of K samples for the encoder, one bound of all M K for the decoder and the prior, in nats.

    The value is the negative bound of all M K samples, log (1/(M K)) sum_mk w_mk, a mean over the images; q(z|x) gets
    the gradient of (1/M) sum_m log (1/K) sum_k w_mk instead, whose signal to noise is larger. Rainforth et al., 2018
    (arXiv:1802.04537). Further losses of the model are added. It decodes twice, for a backward pass can give a sample
    one weight only.

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
    compiles = False

    def __init__(self, bounds: int, samples_per_bound: int) -> None:
        check_integer("bounds", bounds, 1)
        check_integer("samples_per_bound", samples_per_bound, 1)
        self.bounds = bounds
        self.samples = bounds * samples_per_bound

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and no further terms."""
        pass_of = model.encode(x, y)
        trace = pass_of(noise)
        only_group(trace, "PIWAE, which trains q and p apart,")  # a ladder's share a trunk
        log_w = trace.log_w.unflatten(0, (self.bounds, -1))  # (M, K, B)
        encoder = -log_mean_exp(log_w, dim=1).mean()
        weights = trace.log_w.detach().softmax(0)  # of the bound of all samples, (M K, B)
        own = (log_w.detach().softmax(1) / self.bounds).flatten(0, 1)  # what `encoder` gives each sample
        # what the decoder and the prior must get beyond that, which does not reach q
        decoder = ((own - weights) * _log_p_of_fixed_z(pass_of(noise))).sum(0).mean()
        loss = encoder + decoder
        value = -log_mean_exp(trace.log_w.detach(), dim=0).mean()
        return sum(trace.losses.values(), value + loss - loss.detach()), trace, {}


def _log_p_of_fixed_z(trace: Trace) -> Tensor:
    """log p(x, z), (K, B), whose gradient stops at z."""
    (latent,) = trace.latents
    if latent.z.requires_grad:
        latent.z.register_hook(torch.zeros_like)
    return trace.log_px + latent.log_p
