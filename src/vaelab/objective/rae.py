"""The regularised autoencoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vaelab.errors import UserError, check_choice, check_number
from vaelab.parts import Model, Noise, Trace
from vaelab.vae import VAE

REGULARIZERS = ("none", "l2", "gradient_penalty", "spectral")
POWER_ITERATIONS = 30


class RAE:
    """Regularised autoencoder: E[-log p(x|z)] + beta/2 ||z||^2 + weight R(decoder), a mean over the images.

    Ghosh et al., 2020 (arXiv:1903.12436), for posteriors without a density: it reports the reconstruction in nats, and
    an `elbo` only where the posterior has a density after all. Further losses of the model are added, so that with
    beta 0 it trains codebooks. R by `regularizer`:

    - `none`: 0, the autoencoder.
    - `l2`: the sum of the decoder's squared parameters.
    - `gradient_penalty`: ||J||_F^2 of the Jacobian J of the likelihood's parameters in z, a mean over the images,
      estimated without bias by ||J v||^2 in one direction v ~ N(0, I) an image (Hutchinson, 1989).
    - `spectral`: the sum of the squared largest singular values of the decoder's weight matrices, those of convolutions
      flattened (Yoshida & Miyato, 2017, arXiv:1705.10941). The paper's own RAE-SN divides the weights by these values;
      a penalty leaves the decoder as it is.

    The terms reported are `squared_latent`, ||z||^2, and `penalty`, R; both without their weights.

    Args:
        beta: weight of half the squared norm of z.
        regularizer: R.
        weight: of R.

    Raises:
        ValueError: if a weight is negative or not finite, or there is no such regularizer.
        UserError: in a call, if the model has several groups of latents, or is no VAE whose decoder R could regularise.
    """

    is_mean_over_images = True

    def __init__(self, beta: float, regularizer: str, weight: float) -> None:
        check_number("beta", beta, 0)
        check_choice("regularizer", regularizer, REGULARIZERS)
        check_number("weight", weight, 0)
        self.beta = beta
        self.regularizer = regularizer
        self.weight = weight
        self.samples = 2 if regularizer == "gradient_penalty" else 1  # the second is v
        self.compiles = regularizer in ("none", "l2")  # the power method compiles longer than it runs

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and the squared norm of z with the penalty."""
        if isinstance(noise, tuple) or not (self.regularizer == "none" or isinstance(model, VAE)):
            raise UserError(
                f"objective=rae needs a VAE with one group of latents, got {type(model).__name__}; choose another "
                f"model, or another objective"
            )
        trace = model(x, noise[:1], y)
        z = trace.latents[0].z  # (1, B, D)
        terms = {"squared_latent": z.square().sum(-1).mean()}
        loss = 0.5 * self.beta * terms["squared_latent"] - trace.log_px.mean()
        if self.regularizer != "none":
            terms["penalty"] = self._penalty(model, z[0], noise[-1], y)
            loss = loss + self.weight * terms["penalty"]
        return sum(trace.losses.values(), loss), trace, terms

    def _penalty(self, model: VAE, z: Tensor, direction: Tensor, y: Tensor | None) -> Tensor:
        if self.regularizer == "l2":
            return torch.stack([each.square().sum() for each in model.decoder.parameters()]).sum()
        if self.regularizer == "spectral":
            return spectral_penalty(model.decoder)
        return gradient_penalty(lambda z: model.decode(z, y), z, direction)


def gradient_penalty(decode: Callable[[Tensor], Tensor], z: Tensor, direction: Tensor) -> Tensor:
    """||J v||^2 of z (B, D) and directions v (B, D), a mean over the images, (); in an evaluation, too.

    J v is the gradient of J^T u in u, whatever u is.
    """
    with torch.enable_grad():
        z = z if z.requires_grad else z.detach().requires_grad_()
        params = decode(z)  # (B, M, H, W)
        u = torch.zeros_like(params, requires_grad=True)
        (product,) = torch.autograd.grad(params, z, u, create_graph=True)
        (change,) = torch.autograd.grad(product, u, direction, create_graph=True)
        return change.square().flatten(1).sum(-1).mean()


def spectral_penalty(network: nn.Module) -> Tensor:
    """The sum of the squared largest singular values of all weights of two and more dimensions, ()."""
    matrices = [each.flatten(1) for each in network.parameters() if each.dim() > 1]
    return torch.stack([_largest_singular_value(matrix).square() for matrix in matrices]).sum()


def _largest_singular_value(matrix: Tensor) -> Tensor:
    """s = u^T W v of W (R, C), (), by the power method for v, whose gradient u v^T is exact where v is."""
    with torch.no_grad():
        longest = matrix.square().sum(1).argmax(0, keepdim=True)
        v = matrix.index_select(0, longest).squeeze(0)  # a row, which has a share in the direction that is sought
        for _ in range(POWER_ITERATIONS):
            v = nn.functional.normalize(matrix.T @ (matrix @ v), dim=0)
    return (matrix @ v).norm()
