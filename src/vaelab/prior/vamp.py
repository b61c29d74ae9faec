"""The VampPrior: a mixture of the model's own posteriors."""

import torch
from torch import nn

from vaelab.distributions import Mixture, is_mixable
from vaelab.errors import UserError, check_integer
from vaelab.parts import Infer


class VampPrior(nn.Module):
    """Mixture of the posteriors of C learned pseudo-inputs u_c, p(z) = 1/C sum_c q(z|u_c).

    Tomczak & Welling, 2018 (arXiv:1705.07120). The pseudo-inputs are images in [0, 1], sigmoids of what is learned,
    where a clipped pixel would get no gradient; at first grey noise.

    Args:
        image_shape: (C, H, W).
        components: how many pseudo-inputs.

    Raises:
        ValueError: if there is no component.
        UserError: in the call, if the posterior's density cannot be that of many images at any z.

    Examples:
        >>> q = GaussianPosterior(in_features=64, latent_dim=2)
        >>> p = VampPrior(image_shape=(1, 8, 8), components=10)(infer=lambda x: q(x.flatten(1)))
        >>> z, log_p = p.draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    infers = True

    def __init__(self, image_shape: tuple[int, int, int], components: int) -> None:
        super().__init__()
        check_integer("components", components, 1)
        self.pseudo_inputs = nn.Parameter(torch.randn(components, *image_shape))  # logits

    def forward(self, infer: Infer) -> Mixture:
        """The mixture of posteriors of the pseudo-inputs."""
        q = infer(self.pseudo_inputs.sigmoid())
        if not is_mixable(q):
            raise UserError(
                f"VampPrior needs a posterior whose density, of all pseudo-inputs at any z, follows from its tensors "
                f"alone, and {type(q).__name__} is none; choose posterior=gaussian or another prior"
            )
        return Mixture(q, self.pseudo_inputs.new_zeros(len(self.pseudo_inputs)))
