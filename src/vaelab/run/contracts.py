"""Whether the parts of a model, above all a person's own, are what `vaelab.parts` says; asked before the first step."""

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.distributions import Distribution
from vaelab.errors import UserError, check_integer, is_out_of_memory, one_line
from vaelab.parts import Facts, Model, Objective, Trace
from vaelab.run.node import naming
from vaelab.training.step import has_networks
from vaelab.vae import VAE

log = logging.getLogger(__name__)

TORCH = Path(torch.__file__).parent
IMAGES = 2  # of the pass that looks at shapes
RESERVED = {"loss", "grad_norm", "elbo", "reconstruction", "kl"}  # what is reported of every model


def check_members(name: str, part: Any, contract: type) -> None:
    """Raise UserError unless `part` has all that the protocol `contract` names."""
    named = {*contract.__annotations__, *(member for member in vars(contract) if not member.startswith("_"))}
    missing = sorted(member for member in named if not hasattr(part, member))
    if "__call__" in vars(contract) and not callable(part):
        missing.append("__call__")
    if missing:
        raise UserError(
            f"{name} must have all that {contract.__module__}.{contract.__name__} names, got {_kind(part)} without "
            f"{', '.join(missing)}; add it to the class"
        )


def check_networks(networks: Any) -> None:
    """Raise UserError unless `networks` are an encoder, with the number of its features, and a decoder."""
    if not isinstance(networks, tuple | list) or len(networks) != 2:
        came = f"{len(networks)} objects" if isinstance(networks, tuple | list) else _kind(networks)
        raise UserError(
            f"model must give two networks or a whole model, got {came}; return the pair (encoder, decoder)"
        )
    for network in networks:
        if not isinstance(network, nn.Module):
            raise UserError(f"model must give two networks of torch.nn.Module, got {_kind(network)} among them")
    features = getattr(networks[0], "out_features", None)
    if isinstance(features, bool) or not isinstance(features, int) or features < 1:
        raise UserError(
            f"the encoder of model must have an integer out_features, the F of its h (B, F), got {features!r}; "
            f"set self.out_features in {_kind(networks[0])}"
        )


def check_objective(objective: Any) -> None:
    """Raise UserError unless the objective says what `vaelab.parts.Objective` names."""
    check_members("objective", objective, Objective)
    with naming("objective"):
        check_integer("samples", objective.samples, 1)
    if has_networks(objective) and not isinstance(getattr(objective, "optimizer", None), torch.optim.Optimizer):
        raise UserError(
            f"objective must have an `optimizer` over the networks that it brings, got none in {_kind(objective)}; "
            f"make one, or freeze them"
        )


@torch.no_grad()
def check_model(model: Model, objective: Objective, facts: Facts) -> Trace:
    """A pass of two black images; UserError unless each part takes what the one before gives.

    The model stays as it was, and torch's generator too.
    """
    device = next(model.parameters()).device
    samples, x = objective.samples, torch.zeros(IMAGES, *facts.image_shape, device=device)
    y = torch.zeros(IMAGES, dtype=torch.long, device=device) if model.takes_labels else None
    draws = torch.Generator().manual_seed(0)
    noise = _output("model.noise", model.noise, samples, IMAGES, draws)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), _evaluating(model):
        if isinstance(model, VAE):
            _check_flat(model, x, noise, y)
        trace = _output("model", model, x, noise, y)
        _check_trace(trace, samples)
        with torch.enable_grad():
            answer = _output("objective", objective, model, x, noise, torch.zeros((), device=device), y)
        _check_answer(answer)
        _check_trained(answer[0], model, objective)
        _check_shape("model.embed", "z (B, D)", _output("model.embed", model.embed, x, y), (IMAGES, model.latent_dim))
        images = _output("model.reconstruct", model.reconstruct, x, y)
        _check_shape("model.reconstruct", "E[x|z] (B, C, H, W)", images, tuple(x.shape))
        images = _output("model.sample", model.sample, IMAGES, draws, y)
        _check_shape("model.sample", "E[x|z] (N, C, H, W)", images, tuple(x.shape))
    return trace


def _check_flat(vae: VAE, x: Tensor, noise: Tensor, y: Tensor | None) -> None:
    """The parts of a VAE, in the order in which they are called."""
    samples, given = len(noise), () if y is None else (y,)
    h = _output("the encoder of model", vae.encoder, x, *given)
    _check_shape("the encoder of model", "h (B, F)", h, (IMAGES, vae.encoder.out_features))
    q = _output("posterior", vae.posterior, h.float())
    p = _output("prior", vae.prior_of, y)
    for name, found in (("posterior", q), ("prior", p)):
        check_members(f"what {name} returns", found, Distribution)
    z, log_q = _output("posterior.draw", q.draw, noise)
    _check_shape("posterior", "z (K, B, D)", z, tuple(noise.shape))
    if log_q is not None:
        _check_shape("posterior", "log q(z|x) (K, B)", log_q, (samples, IMAGES))
    _check_shape("prior", "log p(z) (K, B)", _output("prior.log_prob", p.log_prob, z), (samples, IMAGES))
    _check_shape("prior", "z (N, D)", _output("prior.draw", p.draw, noise[0])[0], tuple(noise[0].shape))
    labels = () if y is None else (y.repeat(samples),)
    params = _output("the decoder of model", vae.decoder, z.flatten(0, 1), *labels).float()
    channels = vae.likelihood.out_channels(x.shape[1])
    expected = (samples * IMAGES, channels, *x.shape[2:])
    _check_shape("the decoder of model", "likelihood parameters (N, M, H, W)", params, expected)
    log_px = _output("likelihood.log_prob", vae.likelihood.log_prob, params.unflatten(0, (samples, IMAGES)), x)
    _check_shape("likelihood.log_prob", "log p(x|z) (K, B)", log_px, (samples, IMAGES))
    mean = _output("likelihood.mean", vae.likelihood.mean, params)
    _check_shape("likelihood.mean", "E[x|z] (N, C, H, W)", mean, (len(params), *x.shape[1:]))


def _check_trace(trace: Any, samples: int) -> None:
    if not isinstance(trace, Trace):
        raise UserError(f"model must give a vaelab.parts.Trace, got {_kind(trace)}")
    _check_shape("model", "log p(x|z) (K, B)", trace.log_px, (samples, IMAGES))
    for name, value in trace.losses.items():
        if name in RESERVED:
            raise UserError(f"a loss of the model may not be named {name}, which is reported already; rename it")
        _check_shape("model", f"its loss {name} ()", value, ())
    if trace.has_density:
        _check_shape("model", "log importance weights (K, B)", trace.log_w, (samples, IMAGES))
        _check_shape("model", "a KL (B,)", trace.kl, (IMAGES,))


def _check_answer(answer: Any) -> None:
    """What an objective returned."""
    kinds = (Tensor, Trace, dict)
    if not isinstance(answer, tuple) or len(answer) != 3 or not all(map(isinstance, answer, kinds)):
        came = ", ".join(map(_kind, answer)) if isinstance(answer, tuple) else _kind(answer)
        raise UserError(f"objective must return the loss, the trace and a dictionary of further terms, got {came}")
    loss, trace, terms = answer
    if taken := sorted(terms.keys() & {"loss", "grad_norm", *trace.terms}):
        raise UserError(f"objective must return further terms of names of their own, got {', '.join(taken)}; rename it")
    for name, value in {"the loss": loss, **terms}.items():
        _check_shape("objective", f"{name} of the batch, in nats ()", value, ())


def _check_trained(loss: Tensor, model: Model, objective: Objective) -> None:
    """Refuse a prior that the loss leaves as it is, and warn of other weights that it does not reach."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if not weights:
        raise UserError(f"{type(model).__name__} must have weights to be trained, got none; thaw or add some")
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    left = [name for name, gradient in zip(weights, gradients, strict=True) if gradient is None]
    if any(name.startswith("prior.") for name in left):
        raise UserError(
            f"{type(objective).__name__} does not train the prior, and {type(model.prior).__name__} has weights to be "
            f"trained ({', '.join(left)}); choose prior=normal and conditional=none, or another objective"
        )
    if left:
        log.warning("%s does not train %s, which stay as they are", type(objective).__name__, ", ".join(left))


def _check_shape(name: str, what: str, value: Any, expected: tuple[int, ...]) -> None:
    came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else _kind(value)
    if not isinstance(value, Tensor) or tuple(value.shape) != expected:
        raise UserError(f"{name} must give {what} of shape {expected} for {IMAGES} images, got {came}")


def _output(name: str, call: Callable[..., Any], *given: Any) -> Any:
    """What a part returns; a UserError that says where it failed if it cannot take what it is given."""
    try:
        return call(*given)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
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
def _evaluating(model: Model) -> Iterator[None]:
    model.eval()  # no dropout, and no running mean of a batch norm is changed
    try:
        yield
    finally:
        model.train()


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
