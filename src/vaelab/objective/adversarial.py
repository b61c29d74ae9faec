"""The adversarial autoencoder."""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.errors import UserError, check_number
from vaelab.objective.discriminator import Discriminator, adam
from vaelab.objective.latents import model_and_extra, only_group
from vaelab.parts import Model, Noise, Prior, Trace


class Adversarial(nn.Module):
    """Adversarial autoencoder, E_q[-log p(x|z)] - weight log D(z), where D tells draws from the prior from latents.

    A mean over the images. D, trained with an Adam of its own, is the probability that z is from p(z); the encoder
    makes it take its latents for such, so that the aggregate posterior becomes the prior. The posterior needs no
    density. Makhzani et al., 2016 (arXiv:1511.05644). A prior with parameters would get no gradient and is refused.
    `generator_loss`, which is -log D(z), `discriminator_loss` and `discriminator_accuracy` are reported. Further losses
    of the model are added.

    Args:
        latent_dim: D.
        weight: of what the encoder is trained by against the discriminator.
        discriminator_hidden: sizes of the discriminator's hidden layers.
        discriminator_lr: the discriminator's learning rate.
        discriminator_betas: of its Adam.

    Raises:
        ValueError: if a number is out of range.
        UserError: if the model's prior has parameters, or the model is a ladder.

    Examples:
        >>> objective = Adversarial(latent_dim=2, weight=10.0, discriminator_hidden=[64, 64],
        ...     discriminator_lr=1e-3, discriminator_betas=[0.5, 0.9])
        >>> loss, trace, terms = objective(vae, x, vae.noise(2, len(x), torch.Generator()))
    """

    is_mean_over_images = True
    compiles = False
    samples = 2  # of the noise, one for the latents and one for the prior

    def __init__(
        self,
        latent_dim: int,
        weight: float,
        discriminator_hidden: Sequence[int],
        discriminator_lr: float,
        discriminator_betas: Sequence[float],
    ) -> None:
        super().__init__()
        check_number("weight", weight, 0)
        self.weight = weight
        self.discriminator = Discriminator(latent_dim, discriminator_hidden)
        self.optimizer = adam(self.discriminator, discriminator_lr, discriminator_betas)

    def forward(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and the discriminator's terms."""
        for_model, for_prior = model_and_extra(noise, "the adversarial autoencoder")
        _check_fixed(getattr(model, "prior", None))
        trace = model(x, for_model, y)
        latent = only_group(trace, "the adversarial autoencoder")
        z = latent.z[0]  # (B, D)
        generator = F.softplus(-self.discriminator.fixed(z)).mean()
        drawn, _ = latent.p.draw(for_prior)
        own, terms = self.discriminator.told_apart(drawn, z)
        loss = self.weight * generator - trace.log_px.mean() + own - own.detach()
        return sum(trace.losses.values(), loss), trace, {"generator_loss": generator, **terms}


def _check_fixed(prior: Prior | None) -> None:
    if isinstance(prior, nn.Module) and any(True for _ in prior.parameters()):
        raise UserError(
            f"the adversarial autoencoder needs a prior without parameters, for it does not train them, got "
            f"{type(prior).__name__}; choose prior=normal and conditional=none, or objective=mmd"
        )
