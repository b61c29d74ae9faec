"""From a config, a plain dictionary, to objects; past this file nothing knows of a config."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.prepare import prepared_dataset
from vaelab.dataset.prepared import KNOWN, OWN, found_only
from vaelab.errors import UserError, check_integer, check_number, one_line
from vaelab.machine.device import in_memory, pick_device
from vaelab.machine.dynamo import postpone
from vaelab.machine.ranks import SINGLE, Ranks
from vaelab.ops import generator
from vaelab.parts import CROSS_ENTROPY, Facts, Likelihood, Model, Objective, Posterior, Prior
from vaelab.run.continuation import names_root
from vaelab.run.contracts import check_members, check_model, check_networks, check_objective
from vaelab.run.logger import Logger
from vaelab.run.node import Config, NodeBuilder, UnknownKeyError, default_target, naming
from vaelab.training.config import TrainerConfig
from vaelab.training.setup import Setup
from vaelab.vae import VAE

log = logging.getLogger(__name__)

NO_ELBO = (
    "q(z|x) has no density, so that there is no ELBO: the reconstruction and the loss are reported, and runs are "
    "ranked by the reconstruction"
)


class Builder:
    """Builds the parts of one config.

    What only the run knows goes by name to the parts whose signature names it: `image_shape`, `num_classes`,
    `train_size`, `latent_dim`; to a model also `out_channels` of its decoder and, if it is a whole one, `likelihood`,
    `bfloat16` and, of the labels that it takes, the number of `classes`; to a posterior `in_features`.

    Args:
        config: plain dictionaries, resolved.
        trusted: None to build any target, as for a config that the person has just composed; for a saved config the
            packages, besides vaelab's own parts, whose code may be run.
        overrides: of a saved config, those of the command line.
    """

    def __init__(self, config: Config, trusted: Iterable[str] | None, overrides: Iterable[str] = ()) -> None:
        self.config = config
        self._may_prepare = None if trusted is None else _named_by_a_person(overrides)
        self._nodes = NodeBuilder(config, None if trusted is None else tuple(trusted))

    def setup(self, ranks: Ranks = SINGLE) -> Setup:
        """Everything a training needs, on the device of this rank; UserError where the config makes no sense."""
        postpone()  # what takes a second of all that there is from launch to the first step
        trainer = self.trainer()
        seed = self.config.get("seed")
        with naming(""):
            check_integer("seed", seed, 0)
        device = pick_device(trainer.device, ranks)
        schedule = self.schedule()
        dataset = self.dataset()
        with naming("dataset"):
            dataset.check()
        if trainer.precision == "tf32" and device.type != "cuda":
            raise UserError(
                f"trainer.precision=tf32 is for CUDA GPUs, got the device {device}; use float32 or bfloat16"
            )
        facts = dataset.facts
        objective = self.objective(facts, seed)
        with in_memory("the model", "choose smaller networks or a smaller latent.dim"):
            model = self.model(facts, seed).to(device)
        if hasattr(model.likelihood, "start"):
            model.likelihood.start(dataset.train.images)
        if isinstance(objective, torch.nn.Module):
            objective = objective.to(device)
        check_pixels(self.config, model, dataset)
        if not check_model(model, objective, facts).has_density:
            log.info(NO_ELBO)
        return Setup(model, dataset, objective, self.optimizer(model), schedule, trainer, seed)

    def dataset(self) -> Dataset:
        """The dataset; its images are read when they are asked for, and not downloaded to where a saved config says."""
        with nullcontext() if self._may_prepare is None else found_only(self._may_prepare):
            return _of_kind(Dataset, "dataset", self._nodes.build("dataset"))

    @property
    def has_own_images(self) -> bool:
        """Whether the dataset is read from where a person has it, and not from where everybody has."""
        node = self.config.get("dataset")
        return isinstance(node, Mapping) and not {"path", "source"}.isdisjoint(node)

    def prepared_dataset(self, file: str, name: str) -> Dataset:
        """The dataset of one's own images as they were prepared, in a file of the folder of prepared datasets."""
        node = self.config["dataset"]
        with naming("dataset"):
            return prepared_dataset(str(node.get("root")), file, name, node.get("binarize"), node.get("flip"))

    def objective(self, facts: Facts, seed: int = 0) -> Objective:
        """The objective, the weights of networks of its own a function of the seed."""
        with _weights_of(seed, "objective"):
            objective = self._nodes.build("objective", **_named(facts), latent_dim=self._latent_dim())
        check_objective(objective)
        return objective

    def schedule(self) -> Callable[[int, int], float]:
        """The schedule of the learning rate."""
        schedule = self._nodes.build("scheduler")
        if not callable(schedule):
            raise UserError(
                f"scheduler must be called with (step, total steps) for a factor of the learning rate, got {schedule!r}"
            )
        return schedule

    def logger(self, run_dir: Path) -> Logger:
        """The logger of a run directory."""
        return self._nodes.build("logger", run_dir=run_dir)

    def optimizer(self, model: Model) -> torch.optim.Optimizer:
        """The optimizer over all parameters; one that names `layers` knows which are weights of layers."""
        with naming("optimizer"):
            check_number("lr", self.config["optimizer"].get("lr"), 0, above=True)
        # one to try, for some mistakes, and an optimizer of another kind, show at a step only
        with torch.random.fork_rng(devices=[]):
            device = next(model.parameters()).device
            tried = [torch.nn.Parameter(torch.zeros(1, size, device=device)) for size in (1, 2)]
            optimizer = self._nodes.build("optimizer", params=tried, layers=tried[:1])
            _check_step(_of_kind(torch.optim.Optimizer, "optimizer", optimizer), tried)
        return self._nodes.build("optimizer", params=model.parameters(), layers=_weights_of_layers(model))

    def trainer(self) -> TrainerConfig:
        """How long and how to train."""
        return _of_kind(TrainerConfig, "trainer", self._nodes.build("trainer"))

    def model(self, facts: Facts, seed: int = 0) -> Model:
        """The model in the precision of the training, its weights a function of the seed."""
        known = {**_named(facts), "latent_dim": self._latent_dim()}
        bfloat16 = self.trainer().precision == "bfloat16"
        with _weights_of(seed, "weights"):
            likelihood = self._part("likelihood", Likelihood, known)
            out_channels = likelihood.out_channels(facts.image_shape[0])
            conditional = self._nodes.build("conditional", **known)
            inputs = known["latent_dim"] + conditional.decoder_inputs
            given = {**known, "out_channels": out_channels, "likelihood": likelihood, "bfloat16": bfloat16}
            given["classes"] = conditional.decoder_inputs
            built = self._nodes.build("model", **{**given, "latent_dim": inputs})
            if isinstance(built, torch.nn.Module):
                check_members("model", built, Model)
                self._check_whole(bfloat16)
                return built
            check_networks(built)
            encoder, decoder = built
            posterior = self._part("posterior", Posterior, {**known, "in_features": encoder.out_features})
            prior = self._part("prior", Prior, known)
            self._check_space(posterior, prior)
            encoder, decoder, given_labels = conditional(encoder, decoder, prior)
            if not hasattr(posterior, "prior"):  # one of codes is the same for all labels
                prior = given_labels
            return VAE(encoder, decoder, posterior, prior, likelihood, known["latent_dim"], bfloat16)

    def _check_space(self, posterior: Posterior, prior: Prior) -> None:
        """Raise UserError unless posterior and prior are densities over the same latents."""
        if hasattr(posterior, "prior"):
            self._check_default("prior", f"{type(posterior).__name__} brings a prior over its codes")
            return
        of_q, of_p = (getattr(part, "space", "real") for part in (posterior, prior))
        if of_q != of_p:
            raise UserError(
                f"posterior and prior must be over the same latents, got {type(posterior).__name__} ({of_q}) and "
                f"{type(prior).__name__} ({of_p}); choose "
                f"prior=uniform_sphere and posterior=von_mises_fisher together, or neither"
            )

    def _check_default(self, group: str, reason: str) -> None:
        if self.config.get(group, {}).get("_target_") != default_target(group):
            raise UserError(f"{reason}; leave the choice of a {group} out")

    def _check_whole(self, bfloat16: bool) -> None:
        """Refuse what a whole model would ignore: parts that it does not take, and a precision."""
        takes_labels = "classes" in self._nodes.names("model")
        for group in ("posterior", "prior", *(() if takes_labels else ("conditional",))):
            self._check_default(group, f"model is a whole model, which has its own {group}")
        if bfloat16 and "bfloat16" not in self._nodes.names("model"):
            raise UserError("model is a whole model that does not take bfloat16; use trainer.precision=float32")

    def _part(self, name: str, contract: type, known: Mapping[str, Any]) -> Any:
        part = self._nodes.build(name, **known)
        check_members(name, part, contract)
        return part

    def _latent_dim(self) -> int:
        node = self.config.get("latent")
        if not isinstance(node, Mapping):
            raise UserError(f"latent must be one of the options of its group, with a dim, got {node!r}")
        for key in node.keys() - {"dim"}:
            raise UnknownKeyError("latent", str(key), {"dim"})
        with naming("latent"):
            check_integer("dim", node.get("dim"), 1)
        return node["dim"]


@contextmanager
def _weights_of(seed: int, stream: str) -> Iterator[None]:
    """Torch's own generator as a function of (seed, stream) while weights are drawn, and afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator(seed, stream).get_state())
        yield


def _named_by_a_person(overrides: Iterable[str]) -> list[str]:
    """The kinds of datasets that a person, and no saved config alone, has said the place of."""
    of_own = any(override.lstrip("+").startswith(("dataset.path=", "dataset.source")) for override in overrides)
    return [*([KNOWN] if names_root(overrides) else []), *([OWN] if of_own else [])]


def _named(facts: Facts) -> dict[str, Any]:
    return dict(vars(facts))


def check_pixels(config: Config, model: Model, dataset: Dataset) -> None:
    """Raise UserError if the likelihood cannot score the dataset's pixels or the model needs labels it has not.

    Where what it gives is no log of a probability or density, a warning says so.
    """
    kinds, chosen = model.likelihood.pixels, type(model.likelihood).__name__
    if dataset.pixel_kind not in kinds:
        advice = (
            "choose dataset.binarize=none, or likelihood=bernoulli"
            if dataset.pixel_kind == "binary"
            else "choose dataset.binarize=dynamic, or another likelihood"
        )
        raise UserError(
            f"{chosen} scores pixels of the kind {' or '.join(kinds)}, but {dataset.name} with "
            f"dataset.binarize={dataset.binarize} gives {dataset.pixel_kind} pixels; {advice}"
        )
    if model.takes_labels:
        dataset.check_labels()
    if kinds[dataset.pixel_kind] == CROSS_ENTROPY:
        log.warning(
            "%s on the 256 levels of %s is a cross-entropy, no likelihood: its ELBO compares with that of no other "
            "likelihood; for a likelihood choose likelihood=logistic or dataset.binarize=dynamic",
            *(chosen, dataset.name),
        )


def _of_kind(kind: type, name: str, part: Any) -> Any:
    if not isinstance(part, kind):
        came = f"{type(part).__module__}.{type(part).__qualname__}".removeprefix("builtins.")
        wanted = f"{kind.__module__}.{kind.__qualname__}"
        raise UserError(f"{name} must be a {wanted}, got {came}; its _target_ must give one")
    return part


def _weights_of_layers(model: Model) -> list[torch.nn.Parameter]:
    """The weights of linear layers and convolutions, each once; of subclasses, such as masked layers, none."""
    layers = (module for module in model.modules() if type(module) in (torch.nn.Linear, torch.nn.Conv2d))
    weights = {id(layer.weight): layer.weight for layer in layers if isinstance(layer.weight, torch.nn.Parameter)}
    return list(weights.values())


def _check_step(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except Exception as error:
        raise UserError(
            f"optimizer must make a step with these settings, got {type(error).__name__}: {one_line(error, 200)}; "
            f"choose others, or another optimizer"
        ) from error
