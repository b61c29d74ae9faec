"""The training loss as one module, so that all parts with parameters are called within one `forward`."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from vaelab.errors import UserError
from vaelab.objective.elbo import ELBO
from vaelab.vae import VAE

ADVICE = "the last good checkpoint, if there is one, is kept; try a smaller optimizer.lr, or set trainer.grad_clip"


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


def require_finite(values: Mapping[str, Tensor | float], step: int) -> None:
    """Raise UserError if the loss of a step is not finite; of a tensor on a GPU, reading it waits.

    Args:
        values: the loss with its terms.
        step: steps made before this one.
    """
    loss = values["loss"]
    if not math.isfinite(loss.item() if isinstance(loss, Tensor) else loss):
        terms = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        raise UserError(f"the loss is not finite at step {step + 1} ({terms}); {ADVICE}")
