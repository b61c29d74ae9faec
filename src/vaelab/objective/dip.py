"""The ELBO with the covariance of the aggregate posterior drawn to the identity."""

import torch
from torch import Tensor

from vaelab.distributions import Normal
from vaelab.errors import UserError, check_choice, check_number
from vaelab.objective.latents import only_group
from vaelab.parts import Latent, Model, Noise, Trace

VARIANTS = ("i", "ii")


class DIP:
    """DIP-VAE, the negative ELBO and how far the covariance of the latents is from the identity.

    lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2 is added to the nats of the ELBO. C (D, D) is over the
    batch: of the means, Cov[mu(x)] (variant i), or of the latents, E[var(x)] + Cov[mu(x)] (variant ii), for a diagonal
    normal posterior. Kumar et al., 2018 (arXiv:1711.00848). The two sums are reported as `off_diagonal` and `diagonal`.
    Further losses of the model are added.

    Args:
        variant: `i` or `ii`.
        lambda_od: weight of the covariances.
        lambda_d: weight of the variances' distance from 1; the paper takes 10 lambda_od for i, lambda_od for ii.

    Raises:
        ValueError: if a weight is negative or not finite, or the variant is neither.

    Examples:
        >>> objective = DIP(variant="ii", lambda_od=10.0, lambda_d=10.0)
        >>> loss, trace, terms = objective(vae, x, vae.noise(1, len(x), torch.Generator()))
    """

    is_mean_over_images = False
    compiles = True
    samples = 1

    def __init__(self, variant: str, lambda_od: float, lambda_d: float) -> None:
        check_choice("variant", variant, VARIANTS)
        check_number("lambda_od", lambda_od, 0)
        check_number("lambda_d", lambda_d, 0)
        self.variant = variant
        self.lambda_od = lambda_od
        self.lambda_d = lambda_d

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and the two sums."""
        trace = model(x, noise, y)
        covariance = self.covariance(only_group(trace, "DIP-VAE"))
        eye = torch.eye(len(covariance), device=x.device)
        squared = (covariance - eye).square()
        off_diagonal, diagonal = (squared * (1 - eye)).sum(), (squared * eye).sum()
        loss = trace.kl.mean() - trace.log_px.mean() + self.lambda_od * off_diagonal + self.lambda_d * diagonal
        return sum(trace.losses.values(), loss), trace, {"off_diagonal": off_diagonal, "diagonal": diagonal}

    def covariance(self, latent: Latent) -> Tensor:
        """C of the batch, (D, D)."""
        if not isinstance(latent.q, Normal):
            raise UserError(
                f"DIP-VAE needs the mean and variance of a diagonal normal posterior, got "
                f"{type(latent.q).__name__}; choose posterior=gaussian, or another objective"
            )
        mean = latent.q.mean - latent.q.mean.mean(0)  # (B, D)
        covariance = mean.T @ mean / len(mean)
        if self.variant == "i":
            return covariance
        return covariance + torch.eye(len(covariance), device=mean.device) * latent.q.log_var.exp().mean(0)
