"""The training loss as one module, so that all parts with parameters are called within one `forward`."""

from torch import Tensor, nn

from vaelab.objective.elbo import ELBO
from vaelab.vae import VAE


class Loss(nn.Module):
    """The objective of a model's trace as a function of (parameters, batch, noise, step).

    The objective asks the trace's prior for densities after the model's own forward pass is over. Whoever replaces
    parameters for a call (`torch.func.functional_call`), or waits for their gradients by hooks on a module
    (`DistributedDataParallel`), has to do it for this module: around the model alone it would miss those of the prior.

    Args:
        vae: the model.
        objective: from its trace to the loss.
    """

    def __init__(self, vae: VAE, objective: ELBO) -> None:
        super().__init__()
        self.vae = vae
        self.objective = objective

    def forward(self, x: Tensor, eps: Tensor, step: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its terms, each () and a mean over the images in nats.

        Args:
            x: images (B, C, H, W) in [0, 1].
            eps: standard normal noise (K, B, D).
            step: the training step, ().
        """
        return self.objective(self.vae(x, eps), step)
