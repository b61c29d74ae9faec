"""What objectives ask of the latents of a pass before they compare them."""

from torch import Tensor

from vaelab.errors import UserError
from vaelab.parts import Latent, Noise, Trace


def only_group(trace: Trace, what: str) -> Latent:
    """The latents of a flat model; UserError for those of a ladder, which `what` cannot use."""
    if len(trace.latents) != 1:
        raise UserError(
            f"{what} needs a model with one group of latents, got {len(trace.latents)} groups; choose another objective"
        )
    return trace.latents[0]


def model_and_extra(noise: Noise, what: str) -> tuple[Tensor, Tensor]:
    """Of two samples of noise (2, B, D) the one for the model (1, B, D), and the other (B, D)."""
    check_tensor(noise, what)
    return noise[:1], noise[1]


def check_tensor(noise: Noise, what: str) -> None:
    """Raise UserError for the noise of a ladder, which `what` cannot use."""
    if not isinstance(noise, Tensor):
        raise UserError(
            f"{what} needs a model with one group of latents, got a ladder of {len(noise)}; choose another objective"
        )
