"""Whether the parts of a model, above all a person's own, are what `vaelab.parts` says; asked before the first step."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.errors import UserError, one_line
from vaelab.parts import Draw, Objective
from vaelab.vae import VAE, Trace

TORCH = Path(torch.__file__).parent
IMAGES = 2  # of the pass that looks at shapes
TERMS = ("elbo", "reconstruction", "kl")


def check_members(name: str, part: Any, contract: type) -> None:
    """Raise UserError unless `part` has all that the protocol `contract` names."""
    named = {*contract.__annotations__, *(member for member in vars(contract) if not member.startswith("_"))}
    missing = sorted(member for member in named if not hasattr(part, member))
    if "__call__" in vars(contract) and not callable(part):
        missing.append("__call__")
    if missing:
        raise UserError(
            f"{name} must have all that vaelab.parts.{contract.__name__} names, got {_kind(part)} without "
            f"{', '.join(missing)}; add it to the class"
        )


def check_networks(networks: Any) -> None:
    """Raise UserError unless `networks` are an encoder, with the number of its features, and a decoder."""
    if not isinstance(networks, tuple | list) or len(networks) != 2:
        came = f"{len(networks)} objects" if isinstance(networks, tuple | list) else _kind(networks)
        raise UserError(f"model must give two networks, got {came}; return the pair (encoder, decoder)")
    for network in networks:
        if not isinstance(network, nn.Module):
            raise UserError(f"model must give two networks of torch.nn.Module, got {_kind(network)} among them")
    features = getattr(networks[0], "out_features", None)
    if isinstance(features, bool) or not isinstance(features, int) or features < 1:
        raise UserError(
            f"the encoder of model must have an integer out_features, the F of its h (B, F), got {features!r}; "
            f"set self.out_features in {_kind(networks[0])}"
        )


@torch.no_grad()
def check_shapes(vae: VAE, objective: Objective, image_shape: tuple[int, int, int]) -> None:
    """Raise UserError unless each part takes what the one before gives, in a pass of two black images.

    The model stays as it was, and torch's generator too.
    """
    device = next(vae.parameters()).device
    samples, channels = objective.samples, image_shape[0]
    x = torch.zeros(IMAGES, *image_shape, device=device)
    eps = torch.zeros(samples, IMAGES, vae.latent_dim, device=device)
    out_shape = (samples * IMAGES, vae.likelihood.params_per_channel * channels, *image_shape[1:])
    with torch.random.fork_rng([device] if device.type == "cuda" else []), _evaluating(vae):
        h = _output("the encoder of model", vae.encoder, x)
        _check_shape("the encoder of model", "h (B, F)", h, (IMAGES, vae.encoder.out_features))
        draw = _output("posterior", vae.posterior, h, eps)
        check_members("what posterior returns", draw, Draw)
        _check_shape("posterior", "z (K, B, D)", draw.z, tuple(eps.shape))
        _check_shape("posterior", "log_qz (K, B)", draw.log_qz, (samples, IMAGES))
        log_pz = _output("prior.log_prob", vae.prior.log_prob, draw.z)
        _check_shape("prior.log_prob", "log p(z) (K, B)", log_pz, (samples, IMAGES))
        _check_shape("prior.sample", "z (N, D)", _output("prior.sample", vae.prior.sample, eps[0]), tuple(eps[0].shape))
        params = _output("the decoder of model", vae.decoder, draw.z.flatten(0, 1))
        _check_shape("the decoder of model", "likelihood parameters (N, P * C, H, W)", params, out_shape)
        log_px = _output("likelihood.log_prob", vae.likelihood.log_prob, params.unflatten(0, (samples, IMAGES)), x)
        _check_shape("likelihood.log_prob", "log p(x|z) (K, B)", log_px, (samples, IMAGES))
        mean = _output("likelihood.mean", vae.likelihood.mean, params)
        _check_shape("likelihood.mean", "E[x|z] (N, C, H, W)", mean, (len(params), *image_shape))
        answer = _output("objective", objective, Trace(log_px, draw, vae.prior), torch.zeros((), device=device))
    _check_answer(answer)


def _check_answer(answer: Any) -> None:
    """What an objective returned."""
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], dict):
        raise UserError(f"objective must return the loss and a dictionary of its terms, got {_kind(answer)}")
    loss, terms = answer
    for name, value in {"the loss": loss, **terms}.items():
        _check_shape("objective", f"{name} as a mean over images, in nats ()", value, ())
    missing = [name for name in TERMS if name not in terms]
    if missing:
        raise UserError(f"objective must return the terms {', '.join(TERMS)}, got none named {', '.join(missing)}")


def _check_shape(name: str, what: str, value: Any, expected: tuple[int, ...]) -> None:
    came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else _kind(value)
    if not isinstance(value, Tensor) or tuple(value.shape) != expected:
        raise UserError(f"{name} must give {what} of shape {expected} for {IMAGES} images, got {came}")


def _output(name: str, call: Callable[..., Any], *given: Any) -> Any:
    """What a part returns; a UserError that says where it failed if it cannot take what it is given."""
    try:
        return call(*given)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if TORCH not in Path(frame.filename).parents
        ]
        shapes = ", ".join(str(tuple(value.shape)) for value in given if isinstance(value, Tensor))
        raise UserError(
            f"{name} failed on tensors of shape {shapes} in line {frames[-1].lineno} of {frames[-1].filename}: "
            f"{one_line(error, 300)}; HYDRA_FULL_ERROR=1 shows the stack"
        ) from error


@contextmanager
def _evaluating(vae: VAE) -> Iterator[None]:
    vae.eval()  # no dropout, and no running mean of a batch norm is changed
    try:
        yield
    finally:
        vae.train()


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
