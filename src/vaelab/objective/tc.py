"""The ELBO with its KL taken apart, so that total correlation has a weight of its own."""

import math

import torch
from torch import Tensor

from vaelab.errors import UserError, check_choice, check_integer, check_number
from vaelab.objective.latents import only_group
from vaelab.parts import Latent, Model, Noise, Trace

ESTIMATORS = ("weighted", "stratified")


class TotalCorrelation:
    """beta-TCVAE, the negative ELBO with weights on the three parts of its KL, in nats.

    KL = I(x; z) + TC + sum_d KL(q(z_d) || p(z_d)): mutual information, total correlation KL(q(z) || prod_d q(z_d)) and
    what each dimension of the aggregate posterior q(z) = (1/N) sum_n q(z|x_n) differs from the prior by, reported as
    `batch_mutual_information`, `batch_total_correlation` and `batch_dimension_kl`. Chen et al., 2018
    (arXiv:1802.04942). Further losses of the model are added.

    q(z) is estimated from the batch. `weighted` gives all its images the weight 1 / (N B), which is biased by constants
    of D log N and so: its gradient is of use, its values are not (`vaelab evaluate --aggregate` measures the terms).
    `stratified` gives the image that z is drawn from 1 / N and each other (N - 1) / (N (B - 1)), unbiased for q(z); it
    is the mean of the paper's over the orders of the others. Either way the three add up to the estimate of the KL.

    Args:
        train_size: N.
        alpha: weight of the mutual information.
        beta: weight of the total correlation.
        gamma: weight of the KL by dimension.
        estimator: of q(z), `weighted` or `stratified`.

    Raises:
        ValueError: if a weight is negative or not finite, or the estimator is neither.

    Examples:
        >>> objective = TotalCorrelation(train_size=60_000, alpha=1.0, beta=6.0, gamma=1.0, estimator="stratified")
        >>> loss, trace, terms = objective(vae, x, vae.noise(1, len(x), torch.Generator()))
    """

    is_mean_over_images = False
    compiles = True
    samples = 1

    def __init__(self, train_size: int, alpha: float, beta: float, gamma: float, estimator: str) -> None:
        check_integer("train_size", train_size, 1)
        for name, value in {"alpha": alpha, "beta": beta, "gamma": gamma}.items():
            check_number(name, value, 0)
        check_choice("estimator", estimator, ESTIMATORS)
        self.train_size = train_size
        self.weights = {"batch_mutual_information": alpha, "batch_total_correlation": beta, "batch_dimension_kl": gamma}
        self.estimator = estimator

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and the three parts of the KL."""
        trace = model(x, noise, y)
        terms = self.parts_of_kl(only_group(trace, "the total correlation"))
        loss = sum((weight * terms[name] for name, weight in self.weights.items() if weight), -trace.log_px.mean())
        return sum(trace.losses.values(), loss), trace, terms

    def parts_of_kl(self, latent: Latent) -> dict[str, Tensor]:
        """The three terms by name, each ()."""
        log_q_z, log_q_dims = self.log_aggregate(latent)
        return {
            "batch_mutual_information": (latent.log_q[0] - log_q_z).mean(),
            "batch_total_correlation": (log_q_z - log_q_dims).mean(),
            "batch_dimension_kl": (log_q_dims - latent.log_p[0]).mean(),
        }

    def log_aggregate(self, latent: Latent) -> tuple[Tensor, Tensor]:
        """log q(z_i) and log prod_d q(z_id) of the z drawn from each image i, (B,) each."""
        if not hasattr(latent.q, "factors"):
            raise UserError(
                f"the total correlation needs a posterior that factorises over the dimensions, which "
                f"{type(latent.q).__name__} does not; choose posterior=gaussian, or another objective"
            )
        factors = latent.q.factors(latent.z[0].unsqueeze(1))  # log q(z_id | x_j), (B, B, D)
        log_weights = self._log_weights(len(factors), factors.device)  # (B, B)
        log_q_z = torch.logsumexp(factors.sum(-1) + log_weights, dim=1)
        log_q_dims = torch.logsumexp(factors + log_weights.unsqueeze(-1), dim=1).sum(-1)
        return log_q_z, log_q_dims

    def _log_weights(self, images: int, device: torch.device) -> Tensor:
        """log of the weight of image j for the z drawn from image i, (B, B)."""
        if self.estimator == "weighted" or images == 1:
            return torch.full((images, images), -math.log(images * self.train_size), device=device)
        others = (self.train_size - 1) / (self.train_size * (images - 1))
        own = torch.eye(images, dtype=torch.bool, device=device)
        return torch.full((images, images), _log(others), device=device).masked_fill(own, -math.log(self.train_size))


def _log(weight: float) -> float:
    return math.log(weight) if weight else -math.inf
