"""The aggregate posterior q(z), the mean of q(z|x) over the images: how it differs from the prior, and why."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.distributions import Distribution
from vaelab.errors import is_out_of_memory
from vaelab.evaluation.subject import Found, LeftOutError, Subject, mean_and_error
from vaelab.ops import generator
from vaelab.vae import VAE

IMAGES = 10_000  # of the mixture
DRAWS = 1000  # z at which densities are taken
AT_ONCE = 2_000_000  # numbers z - mean at a time
WITHOUT_FACTORS = {
    "total_correlation": "needs a q(z|x) that is a product over the dimensions",
    "dimension_wise_kl": "needs a q(z|x) and a prior that are products over the dimensions",
}


@dataclass(frozen=True)
class Densities:
    """Logarithms of densities at z ~ q(z|x), one z of each of M images, in nats, (M,) each.

    Args:
        given: q(z|x) of the image that z was drawn for.
        aggregate: q(z).
        prior: p(z).
        aggregate_factors: by dimension q(z_d), (M, D); None where q(z|x) does not factorise.
        prior_factors: by dimension p(z_d), (M, D); None where the prior does not factorise.
    """

    given: Tensor
    aggregate: Tensor
    prior: Tensor
    aggregate_factors: Tensor | None
    prior_factors: Tensor | None


@torch.no_grad()
def aggregate(subject: Subject) -> Found:
    """Mutual information, marginal KL, total correlation and dimension-wise KL, in nats.

    With q(z) = 1/N sum_n q(z|x_n) over the N images, exactly, without the bias of minibatches,

        E KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z))
        KL(q(z) || p(z)) = KL(q(z) || prod q(z_d)) + sum_d KL(q(z_d) || p(z_d))

    the last for a prior that factorises (Hoffman & Johnson, 2016; Chen et al., 2018, arXiv:1802.04942). The terms are
    the mutual information, which is log N at most, the marginal KL, the total correlation and the dimension-wise KL.

    Raises:
        LeftOutError: if q(z|x) has no density that can be taken at any z, or is not one of a flat model without labels.
    """
    model = subject.model
    if not isinstance(model, VAE) or model.takes_labels:
        raise LeftOutError("needs a VAE with one group of latents and without labels")
    posteriors, images = [], 0
    for x, _ in subject.batches():
        posteriors.append(model.infer(x[: IMAGES - images]))
        images += len(x[: IMAGES - images])
        if images == IMAGES:
            break
    sizes = [min(subject.batch_size, images - start) for start in range(0, images, subject.batch_size)]
    try:
        found = densities(posteriors, sizes, model.prior_of(), model.latent_dim, subject.seed, subject.device)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise LeftOutError(f"needs a q(z|x) whose density can be taken at any z ({error})") from error
    return terms(found, f"q(z) of {images:,} images at {len(found.given):,} draws")


def densities(
    posteriors: list[Distribution], sizes: list[int], prior: Distribution, dims: int, seed: int, device: torch.device
) -> Densities:
    """Densities at one draw of each of some images, spread evenly over batches of posteriors with `sizes` images."""
    eps = (torch.randn(1, size, dims, generator=generator(seed, "aggregate", i)) for i, size in enumerate(sizes))
    drawn = [q.draw(noise.to(device)) for q, noise in zip(posteriors, eps, strict=True)]
    if any(log_q is None for _, log_q in drawn):
        raise LeftOutError(f"needs a density, which {type(posteriors[0]).__name__} has not")
    z, given = torch.cat([z[0] for z, _ in drawn]), torch.cat([log_q[0] for _, log_q in drawn])
    chosen = torch.linspace(0, len(z) - 1, min(DRAWS, len(z)), device=device).round().long()
    z, given = z[chosen], given[chosen]
    chunks = z.split(max(1, AT_ONCE // (max(sizes) * dims)))
    mixed = torch.cat([_mixture(posteriors, sizes, part) for part in chunks])  # (M, 1 + D) or (M, 1)
    return Densities(
        given,
        mixed[:, 0],
        prior.log_prob(z.unsqueeze(1))[:, 0],
        mixed[:, 1:] if mixed.shape[1] > 1 else None,
        prior.factors(z.unsqueeze(1))[:, 0] if hasattr(prior, "factors") else None,
    )


def _mixture(posteriors: list[Distribution], sizes: list[int], z: Tensor) -> Tensor:
    """log q(z) and, where q(z|x) factorises, log q(z_d), of z (M, D): (M, 1 + D) or (M, 1)."""
    parts = []
    for q, size in zip(posteriors, sizes, strict=True):
        at = z.unsqueeze(1).expand(-1, size, -1)  # (M, B, D)
        if hasattr(q, "factors"):
            factors = q.factors(at)
            logs = torch.cat([factors.sum(-1, keepdim=True), factors], -1)  # (M, B, 1 + D)
        else:
            logs = q.log_prob(at).unsqueeze(-1)
        parts.append(logs.logsumexp(1))
    return torch.stack(parts).logsumexp(0) - torch.tensor(float(sum(sizes))).log().to(z.device)


def terms(found: Densities, setting: str) -> Found:
    """Means over the draws, with their standard errors."""
    values = {
        "mutual_information": found.given - found.aggregate,
        "marginal_kl": found.aggregate - found.prior,
    }
    if found.aggregate_factors is not None:
        values["total_correlation"] = found.aggregate - found.aggregate_factors.sum(-1)
        if found.prior_factors is not None:
            values["dimension_wise_kl"] = (found.aggregate_factors - found.prior_factors).sum(-1)
    both = {name: mean_and_error(value) for name, value in values.items()}
    metrics, errors = ({name: value[i] for name, value in both.items()} for i in (0, 1))
    left_out = {name: reason for name, reason in WITHOUT_FACTORS.items() if name not in metrics}
    return Found(metrics, errors, setting=setting, left_out=left_out)
