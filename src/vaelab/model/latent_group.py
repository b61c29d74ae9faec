"""A group of latents on the trunk of a ladder."""

import torch
from torch import Tensor, nn

from vaelab.distributions import Normal
from vaelab.model.blocks import Residual, Size, activated, branch, conv

# The logarithms of variances stay within these, softly, as in NVAE: a density far too narrow would stop a training.
LOG_VAR_BOUND = 5.0
POSTERIOR_SCALE = 0.1  # of the first weights behind q, which then is near p


class Group(nn.Module):
    """p(z_l|z_<l) and q(z_l|z_<l, x) from the trunk, and the trunk with z_l added to it.

    The trunk h is (N, width, h, w), N = K * B; before the first latents 1, which all images and samples share, or with
    labels B.

    Args:
        width: channels of the trunk and of the features of the images.
        channels_z: channels of z_l.
        size: (h, w).
        resolution: how often the image was halved.
        groups: how many groups add to the trunk.
    """

    def __init__(self, width: int, channels_z: int, size: Size, resolution: int, groups: int) -> None:
        super().__init__()
        self.shape = (channels_z, *size)
        self.dim = channels_z * size[0] * size[1]
        self.resolution = resolution
        hidden = width // 2
        self.of_prior = branch(width, hidden, 2 * channels_z + width, scale=0.0)
        self.of_image = activated(width, hidden)
        self.of_trunk = activated(width, hidden)
        self.of_both = activated(hidden, 2 * channels_z, scale=POSTERIOR_SCALE)
        self.of_z = conv(channels_z, width, kernel=1, scale=groups**-0.5)
        self.residual = Residual(width, hidden)

    def prior(self, h: Tensor, samples_and_images: tuple[int, int] | None) -> tuple[Normal, Tensor]:
        """p(z_l|z_<l), of (K, B, D_l), or (N, D_l) where there are no latents yet; and what it adds to the trunk."""
        mean, log_var, added = self.of_prior(h).split([self.shape[0], self.shape[0], h.shape[1]], dim=1)
        return Normal(*_flat(mean, log_var, samples_and_images)), added

    def posterior(self, h: Tensor, features: Tensor, p: Normal) -> Normal:
        """q(z_l|z_<l, x) relative to p, of (K, B, D_l), or (B, D_l) where there are no latents yet.

        Args:
            h: the trunk.
            features: `of_image` of the bottom-up network's, (B, hidden, h, w).
            p: the prior.
        """
        samples = 1 if p.mean.dim() == 2 else p.mean.shape[0]
        both = self.of_trunk(h) + features.repeat(samples, 1, 1, 1)  # (K * B, hidden, h, w)
        mean, log_var = self.of_both(both).chunk(2, dim=1)
        mean, log_var = _flat(mean, log_var, None if p.mean.dim() == 2 else p.mean.shape[:2])
        return Normal(p.mean + mean, p.log_var + log_var)

    def join(self, h: Tensor, z: Tensor) -> Tensor:
        """The trunk (K * B, width, h, w) with latents z (K, B, D_l) added."""
        return self.residual(h + self.of_z(z.flatten(0, 1).unflatten(1, self.shape)))


def _flat(mean: Tensor, log_var: Tensor, samples_and_images: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Maps (N, C, h, w) as parameters (K, B, D) or, of no samples yet, (N, D), the second within its bound; float32."""
    flat = mean.float().flatten(1), LOG_VAR_BOUND * torch.tanh(log_var.float().flatten(1) / LOG_VAR_BOUND)
    return flat if samples_and_images is None else tuple(each.unflatten(0, samples_and_images) for each in flat)
