"""The maximum mean discrepancy between aggregate posterior and prior."""

import torch
from torch import Tensor

from vaelab.errors import ArgumentError, check_choice, check_number, is_number
from vaelab.objective.latents import model_and_extra, only_group
from vaelab.parts import Model, Noise, Trace

KERNELS = ("rbf", "imq")


class MMD:
    """InfoVAE and WAE-MMD, E_q[-log p(x|z)] + (1 - alpha) KL + (alpha + lambda - 1) MMD(q(z), p(z)).

    MMD is the squared maximum mean discrepancy between the batch's latents and as many draws from the prior, without
    bias, so that it can be below 0; it is reported as `mmd`. Kernels of squared distances s, C = 2 D bandwidth^2:
    exp(-s / C) (`rbf`) and C / (C + s) (`imq`). Further losses of the model are added.

    InfoVAE is any alpha (Zhao et al., 2019, arXiv:1706.02262). alpha = 1 has no KL, so that the posterior needs no
    density: the WAE, whose lambda is this one (Tolstikhin et al., 2018, arXiv:1711.01558), with posterior=delta.

    Args:
        alpha: 1 minus the weight of KL(q(z|x) || p(z)), at most 1.
        lambda_mmd: lambda, which with alpha weights the MMD.
        kernel: `rbf` or `imq`.
        bandwidth: standard deviation of a prior of which C is the expected squared distance of two draws.

    Raises:
        ValueError: if a number is not finite or out of range, a weight would be negative, or the kernel is neither.

    Examples:
        >>> wae = MMD(alpha=1.0, lambda_mmd=10.0, kernel="imq", bandwidth=1.0)
        >>> wae.discrepancy(torch.zeros(8, 2), torch.zeros(8, 2))
        tensor(0.)
    """

    is_mean_over_images = False
    compiles = True
    samples = 2  # of the noise, one for the latents and one for the prior

    def __init__(self, alpha: float, lambda_mmd: float, kernel: str, bandwidth: float) -> None:
        if not is_number(alpha) or alpha > 1:
            raise ArgumentError("alpha", f"must be a finite number of at most 1, got {alpha!r}")
        check_number("lambda_mmd", lambda_mmd, 0)
        if alpha + lambda_mmd < 1:
            raise ArgumentError(
                "lambda_mmd", f"must be at least 1 - alpha = {1 - alpha:g}, for the MMD's weight, got {lambda_mmd!r}"
            )
        check_choice("kernel", kernel, KERNELS)
        check_number("bandwidth", bandwidth, 0, above=True)
        self.kl_weight = 1 - alpha
        self.mmd_weight = alpha + lambda_mmd - 1
        self.kernel = kernel
        self.bandwidth = bandwidth

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and the discrepancy."""
        for_model, for_prior = model_and_extra(noise, "the MMD")
        trace = model(x, for_model, y)
        latent = only_group(trace, "the MMD")
        drawn, _ = latent.p.draw(for_prior)
        mmd = self.discrepancy(latent.z[0], drawn)
        loss = -trace.log_px.mean()
        if self.mmd_weight:
            loss = loss + self.mmd_weight * mmd
        if self.kl_weight:
            loss = loss + self.kl_weight * trace.kl.mean()
        return sum(trace.losses.values(), loss), trace, {"mmd": mmd}

    def discrepancy(self, a: Tensor, b: Tensor) -> Tensor:
        """The U-statistic of the squared MMD of two samples (B, D) (Gretton et al., 2012, equation 4), ()."""
        cross = self._kernel(a, b)
        pairs = self._kernel(a, a) + self._kernel(b, b) - cross - cross.T  # (B, B)
        different = 1 - torch.eye(len(a), device=a.device)
        return (pairs * different).sum() / max(len(a) * (len(a) - 1), 1)

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """k(a_i, b_j), (B, B)."""
        squared = (a.unsqueeze(1) - b).square().sum(-1)
        width = 2 * a.shape[-1] * self.bandwidth**2
        return torch.exp(-squared / width) if self.kernel == "rbf" else width / (width + squared)
