"""The ELBO with a total correlation that a discriminator estimates."""

from collections.abc import Sequence

from torch import Tensor, nn

from vaelab.errors import check_number
from vaelab.objective.discriminator import Discriminator, adam
from vaelab.objective.latents import model_and_extra, only_group
from vaelab.parts import Model, Noise, Trace


class Factor(nn.Module):
    """FactorVAE, the negative ELBO and gamma times a total correlation told by a discriminator, in nats.

    TC = KL(q(z) || prod_d q(z_d)) is estimated by the mean of log D(z) / (1 - D(z)), where D, trained with an Adam of
    its own, tells the batch's latents from those whose dimensions are permuted over the batch. Kim & Mnih, 2018
    (arXiv:1802.05983); their second batch is the same one here. `total_correlation`, `discriminator_loss` and
    `discriminator_accuracy` are reported. Further losses of the model are added.

    Args:
        latent_dim: D.
        gamma: weight of the total correlation.
        discriminator_hidden: sizes of the discriminator's hidden layers.
        discriminator_lr: the discriminator's learning rate.
        discriminator_betas: of its Adam.

    Raises:
        ValueError: if a number is out of range.

    Examples:
        >>> objective = Factor(latent_dim=2, gamma=10.0, discriminator_hidden=[64, 64],
        ...     discriminator_lr=1e-4, discriminator_betas=[0.5, 0.9])
        >>> loss, trace, terms = objective(vae, x, vae.noise(2, len(x), torch.Generator()))
    """

    is_mean_over_images = False
    compiles = False
    samples = 2  # of the noise, one for the latents, one whose order permutes them

    def __init__(
        self,
        latent_dim: int,
        gamma: float,
        discriminator_hidden: Sequence[int],
        discriminator_lr: float,
        discriminator_betas: Sequence[float],
    ) -> None:
        super().__init__()
        check_number("gamma", gamma, 0)
        self.gamma = gamma
        self.discriminator = Discriminator(latent_dim, discriminator_hidden)
        self.optimizer = adam(self.discriminator, discriminator_lr, discriminator_betas)

    def forward(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and the discriminator's terms."""
        for_model, keys = model_and_extra(noise, "FactorVAE")
        trace = model(x, for_model, y)
        z = only_group(trace, "FactorVAE").z[0]  # (B, D)
        correlation = self.discriminator.fixed(z).mean()
        own, terms = self.discriminator.told_apart(z, z.gather(0, keys.argsort(0)))
        loss = trace.kl.mean() - trace.log_px.mean() + self.gamma * correlation + own - own.detach()
        return sum(trace.losses.values(), loss), trace, {"estimated_correlation": correlation, **terms}
