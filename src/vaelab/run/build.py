"""From a config, a plain dictionary, to objects; past this file nothing knows of a config.

A node with `_target_` becomes the object it names. From the config of a saved run, which may be a stranger's, only
targets in vaelab's own folder for that part, and torch's optimizers, are built.
"""

import importlib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from vaelab.dataset.images import Dataset
from vaelab.dataset.prepared import found_only
from vaelab.errors import UserError, check_integer, check_number, is_number, nearest, one_line
from vaelab.machine.device import in_memory, pick_device
from vaelab.machine.ranks import ALONE, Ranks
from vaelab.objective.elbo import ELBO
from vaelab.ops import generator
from vaelab.parts import CROSS_ENTROPY, Likelihood, Objective, Posterior, Prior
from vaelab.run.continuation import names_root
from vaelab.run.contracts import check_members, check_networks, check_shapes
from vaelab.run.logger import Logger
from vaelab.training.loop import Experiment, Trainer
from vaelab.vae import VAE

log = logging.getLogger(__name__)

OUR_TARGETS = {"optimizer": "torch.optim", "trainer": "vaelab.training.loop", "logger": "vaelab.run.logger"}
Config = Mapping[str, Any]


class UnknownKeyError(UserError):
    """A key that the object built from its node does not take.

    Args:
        node: the node, such as `model`.
        key: the unknown key.
        known: the keys that it takes.
    """

    def __init__(self, node: str, key: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = nearest(key, known) or f"; it takes {', '.join(known)}"
        super().__init__(f"{node} has no key {key!r}{near}")
        self.node = node
        self.key = key
        self.known = known

    def __reduce__(self) -> tuple[Any, ...]:
        # an error of a job that ran in another process has to travel
        return UnknownKeyError, (self.node, self.key, self.known)


class Builder:
    """Builds the parts of one config.

    Args:
        config: plain dictionaries, resolved.
        trusted: None to build any target, as for a config that the person has just composed; for a saved config the
            packages, besides vaelab's own parts, whose code may be run.
        overrides: of a saved config, those of the command line.
    """

    def __init__(self, config: Config, trusted: Iterable[str] | None, overrides: Iterable[str] = ()) -> None:
        self.config = config
        self._may_download = trusted is None or names_root(overrides)
        self.trusted = None if trusted is None else tuple(trusted)

    def experiment(self, ranks: Ranks = ALONE) -> Experiment:
        """Everything a training needs, on the device of this rank; UserError where the config makes no sense."""
        trainer = self.trainer()
        seed = self.config.get("seed")
        _translated("", lambda: check_integer("seed", seed, 0))
        device = pick_device(trainer.device, ranks)
        objective = self.objective()
        schedule = self.schedule()
        dataset = self.dataset()
        _translated("dataset", dataset.check)
        if trainer.precision == "tf32" and device.type != "cuda":
            raise UserError(
                f"trainer.precision=tf32 is for CUDA GPUs, got the device {device}; use float32 or bfloat16"
            )
        with in_memory("the model", "choose smaller networks or a smaller latent.dim"):
            vae = self.vae(dataset.image_shape, seed).to(device)
        check_support(self.config, vae, dataset)
        warn_of_cross_entropy(vae, dataset)
        check_shapes(vae, objective, dataset.image_shape)
        return Experiment(vae, dataset, objective, self.optimizer(vae), schedule, trainer, seed)

    def dataset(self) -> Dataset:
        """The dataset; its images are read when they are asked for, and not downloaded to where a saved config says."""
        with nullcontext() if self._may_download else found_only():
            return _of_kind(Dataset, "dataset", self.part("dataset"))

    def objective(self) -> ELBO:
        """The objective."""
        return self._member("objective", Objective)

    def schedule(self) -> Callable[[int, int], float]:
        """The schedule of the learning rate."""
        schedule = self.part("scheduler")
        if not callable(schedule):
            raise UserError(
                f"scheduler must be called with (step, total steps) for a factor of the learning rate, got {schedule!r}"
            )
        return schedule

    def logger(self, run_dir: Path) -> Logger:
        """The logger of a run directory."""
        return self.part("logger", run_dir=run_dir)

    def optimizer(self, vae: VAE) -> torch.optim.Optimizer:
        """The optimizer over all parameters."""
        _translated("optimizer", lambda: check_number("lr", self.config["optimizer"].get("lr"), 0, above=True))
        # one to try, for some mistakes, and an optimizer of another kind, show at a step only
        with torch.random.fork_rng(devices=[]):
            tried = torch.nn.Parameter(torch.zeros(1, 1, device=next(vae.parameters()).device))
            _check_step(_of_kind(torch.optim.Optimizer, "optimizer", self.part("optimizer", params=[tried])), tried)
        return self.part("optimizer", params=vae.parameters())

    def trainer(self) -> Trainer:
        """How long and how to train."""
        return _of_kind(Trainer, "trainer", self.part("trainer"))

    def vae(self, image_shape: tuple[int, int, int], seed: int = 0) -> VAE:
        """The model in the precision of the training, its weights a function of the seed."""
        bfloat16 = self.trainer().precision == "bfloat16"
        latent_dim = self._latent_dim()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(generator(seed, "weights").get_state())
            likelihood = self._member("likelihood", Likelihood)
            networks = self.part(
                "model",
                image_shape=image_shape,
                latent_dim=latent_dim,
                params_per_channel=likelihood.params_per_channel,
            )
            check_networks(networks)
            encoder, decoder = networks
            posterior = self._member("posterior", Posterior, in_features=encoder.out_features, latent_dim=latent_dim)
            prior = self._member("prior", Prior)
            return VAE(encoder, decoder, posterior, prior, likelihood, latent_dim, bfloat16)

    def _latent_dim(self) -> int:
        node = self.config.get("latent")
        if not isinstance(node, Mapping):
            raise UserError(f"latent must be one of the options of its group, with a dim, got {node!r}")
        for key in node.keys() - {"dim"}:
            raise UnknownKeyError("latent", str(key), {"dim"})
        _translated("latent", lambda: check_integer("dim", node.get("dim"), 1))
        return node["dim"]

    def _member(self, name: str, contract: type, **runtime: Any) -> Any:
        part = self.part(name, **runtime)
        check_members(name, part, contract)
        return part

    def part(self, name: str, **runtime: Any) -> Any:
        """Build the node `name`, passing on what only the run knows."""
        node = self.config.get(name)
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise UserError(f"{name} must be one of the options of its group, with a _target_, got {node!r}")
        self._check_targets(name, node)
        target = _locate(str(node["_target_"]))
        if not callable(target):
            raise UserError(f"{name}._target_ must name a class or a function, but there is no {node['_target_']}")
        _check_keys(name, node, target, runtime)
        _check_types(name, node, target)
        # Arguments given to `instantiate` itself would be turned into config nodes; those of the call stay objects.
        partial = {**node, "_partial_": True, "_convert_": "all"}
        return _translated(name, lambda: instantiate(partial)(**runtime))

    def _check_targets(self, name: str, node: Any) -> None:
        if self.trusted is None:
            return
        if isinstance(node, str) and "${" in node:
            # a saved config is resolved; a resolver that is called now could make a node of any target
            raise UserError(f"{name} of a saved run must hold plain values, got {node!r}; write the value itself")
        if isinstance(node, Mapping):
            target = node.get("_target_")
            if target is not None and not self._is_trusted(name, str(target)):
                ours = OUR_TARGETS.get(name, f"vaelab.{name}")
                raise UserError(
                    f"{name}._target_ of a saved run must lie in {ours}, got {target}; "
                    f"if you trust its code, name its package: trust=[{str(target).split('.')[0]}]"
                )
        for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
            self._check_targets(name, child)

    def _is_trusted(self, name: str, target: str) -> bool:
        packages = (OUR_TARGETS.get(name, f"vaelab.{name}"), *(self.trusted or ()))
        if not any(target.startswith(f"{package}.") for package in packages):
            return False
        # `vaelab.training.loop.torch.hub.load` begins well and ends elsewhere: ask the object itself where it is from.
        found = _locate(target)
        module = getattr(found, "__module__", None) or ""
        return any(f"{module}.".startswith(f"{package}.") for package in packages)


def check_support(config: Config, vae: VAE, dataset: Dataset) -> None:
    """Raise UserError if the likelihood cannot score the pixels that the dataset gives."""
    supports = vae.likelihood.supports
    if dataset.support not in supports:
        chosen = type(vae.likelihood).__name__
        advice = (
            "choose dataset.binarize=none, or likelihood=bernoulli"
            if dataset.support == "binary"
            else "choose dataset.binarize=dynamic, or another likelihood"
        )
        raise UserError(
            f"{chosen} scores pixels of the kind {' or '.join(supports)}, but {dataset.name} with "
            f"dataset.binarize={dataset.binarize} gives {dataset.support} pixels; {advice}"
        )


def warn_of_cross_entropy(vae: VAE, dataset: Dataset) -> None:
    """Log a warning if what the likelihood gives on the pixels of the dataset is no log of a probability or density."""
    if vae.likelihood.supports[dataset.support] == CROSS_ENTROPY:
        log.warning(
            "%s on the 256 levels of %s is a cross-entropy, no likelihood: its ELBO compares with that of no other "
            "likelihood; for a likelihood choose likelihood=logistic or dataset.binarize=dynamic",
            type(vae.likelihood).__name__,
            dataset.name,
        )


def _of_kind(kind: type, name: str, part: Any) -> Any:
    if not isinstance(part, kind):
        came = f"{type(part).__module__}.{type(part).__qualname__}".removeprefix("builtins.")
        wanted = f"{kind.__module__}.{kind.__qualname__}"
        raise UserError(f"{name} must be a {wanted}, got {came}; its _target_ must give one")
    return part


def _locate(target: str) -> Any:
    module, _, attribute = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except (ImportError, ValueError):
        return None


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except ValueError:  # a builtin has none, and says itself what it does not take
        return []


def _check_keys(name: str, node: Config, target: Callable[..., Any], runtime: Config) -> None:
    parameters = _parameters(target)
    if not parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = {parameter.name for parameter in parameters} - set(runtime)
    given = {str(key) for key in node if not str(key).startswith("_")}
    for key in sorted(given - known):
        raise UnknownKeyError(name, key, known)
    needed = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
    for key in sorted(needed & known - given):
        raise UserError(f"{name} needs the key {key!r}, which {node['_target_']} takes and the config does not give")


def _check_types(name: str, node: Config, target: Callable[..., Any]) -> None:
    """Raise UserError for a value that is plainly none of what its parameter is annotated with; torch checks few."""
    for parameter in _parameters(target):
        kinds = set(re.findall(r"\w+", inspect.formatannotation(parameter.annotation))) - {"typing", "Optional"}
        value = node.get(parameter.name, parameter.default)
        if parameter.name not in node or (value is None and "None" in kinds | {str(parameter.default)}):
            continue
        if "bool" in kinds and kinds <= {"bool", "None"} and not isinstance(value, bool):
            raise UserError(f"{name}.{parameter.name} must be true or false, got {value!r}")
        if "float" in kinds and kinds <= {"float", "int", "None", "torch", "Tensor"} and not is_number(value):
            raise UserError(f"{name}.{parameter.name} must be a finite number, got {one_line(repr(value), 80)}")


def _check_step(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> None:
    parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except Exception as error:
        raise UserError(
            f"optimizer must make a step with these settings, got {type(error).__name__}: {one_line(error, 200)}; "
            f"choose others, or another optimizer"
        ) from error


def _translated(node: str, call: Callable[[], Any]) -> Any:
    """Call; a ValueError or TypeError of a part becomes a UserError that names the node and the key."""
    try:
        return call()
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, ValueError | TypeError | IndexError | UserError):
            raise
        raise _named(node, cause) from error
    except (ValueError, TypeError, IndexError) as error:
        raise _named(node, error) from error


def _named(node: str, error: BaseException) -> UserError:
    if isinstance(error, UserError):
        return error
    # our own checks begin with the name of the key, other libraries' messages do not
    begins_with_key = re.match(r"[a-z_]+ must ", str(error)) is not None
    return UserError(f"{node}.{error}" if begins_with_key and node else f"{node}: {error}" if node else str(error))
