"""Finished runs as objects, for notebooks and the command line."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelab.dataset.images import Dataset
from vaelab.distributions import Distribution
from vaelab.errors import UserError, check_choice, check_integer, check_number, one_line, resuming, visible
from vaelab.evaluation.ex_post import SAMPLERS
from vaelab.evaluation.report import QUICK, Plan, Report
from vaelab.evaluation.subject import nothing
from vaelab.machine.device import in_memory, pick_device
from vaelab.ops import unit_interval
from vaelab.parts import Facts, Model, Objective
from vaelab.run.build import Builder
from vaelab.run.continuation import on_this_machine
from vaelab.run.evaluation import report
from vaelab.run.hub import fetched
from vaelab.run.record import RunRecord
from vaelab.run.rows import read_rows
from vaelab.run.sampling import images_of
from vaelab.run.saved import read_config
from vaelab.training import checkpoint, restored
from vaelab.vae import VAE

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Run:
    """A run directory as an object; see `load_run`.

    Tensors and arrays that are given may lie on any device; what is returned lies on that of the model.

    Attributes:
        path: the run directory.
        config: the resolved config, plain dictionaries; its dataset lies in $VAELAB_DATA where that is set.
        model: with the weights of the best epoch, in the precision of its training.
        facts: what the run knew of its data, `image_shape` (C, H, W) among it.
        trusted: packages outside vaelab whose code the config may name.
        objectives_networks: weights of the objective's own networks as they were saved, or None.
    """

    path: Path
    config: Mapping[str, Any]
    model: Model
    facts: Facts
    trusted: tuple[str, ...] = ()
    objectives_networks: object = None

    def __repr__(self) -> str:
        choices, metrics = self.config.get("choices", {}), self.summary.get("metrics", {})
        facts = [f"{choices.get('model', '?')} on {choices.get('dataset', '?')}", f"latent {self.model.latent_dim}"]
        if "best_epoch" in self.summary:
            facts.append(f"best epoch {self.summary['best_epoch']}")
        for split in ("val", "test"):
            if (elbo := metrics.get(f"{split}/elbo")) is not None:
                facts.append(f"{split} ELBO {elbo:.2f}")
        return visible(f"Run('{self.path}': {', '.join(facts)})")

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`."""
        return read_rows(self.path)

    @cached_property
    def record(self) -> RunRecord:
        """What the small files of the directory tell: how the run ended, its settings, curves, what is damaged."""
        return RunRecord(self.path)

    @property
    def summary(self) -> Mapping[str, Any]:
        """The contents of `summary.json`; nothing where it is damaged."""
        return self.record.summary

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset that the run was trained on, with `train`, `val` and `test()`; it must be on this machine."""
        builder, images = Builder(self.config, self.trusted), self.summary.get("images")
        if isinstance(images, str) and builder.has_own_images:
            return builder.prepared_dataset(images, str(self.record.measured_on.get("dataset", "images")))
        return builder.dataset()

    @cached_property
    def objective(self) -> Objective:
        """The objective, with what networks of its own were when the model was best."""
        objective = Builder(self.config, self.trusted).objective(self.facts)
        networks = restored.networks(self.objectives_networks, objective)
        if networks is not None:
            objective.load_state_dict(networks)
            objective.to(self._device)
        return objective

    @torch.no_grad()
    def sample(
        self,
        count: int,
        seed: int | None = None,
        pixel_noise: bool = False,
        y: Tensor | None = None,
        sampler: str = "prior",
        temperature: float = 1.0,
    ) -> Tensor:
        """Images (count, C, H, W) in [0, 1] from the prior: means of p(x|z), or draws from it with `pixel_noise`.

        They are others at every call, or with a `seed` always the same, those of `vaelab generate --seed`. A
        conditional model draws them of the labels y (count,), or without them of each class in turn.

        Args:
            count: how many.
            seed: of the noise.
            pixel_noise: draw from p(x|z).
            y: labels (count,).
            sampler: `prior`; or `gmm` or `flow`, a mixture of 10 normal densities or a spline flow that is fitted to
                the embeddings of the training images first (Ghosh et al., 2020), for which the dataset must be there.
            temperature: factor of the prior's noise.
        """
        check_integer("count", count, 1)
        check_choice("sampler", sampler, SAMPLERS)
        check_number("temperature", temperature, 0)
        if self.model.takes_labels and y is None:
            y = torch.arange(count) % self.facts.num_classes
        return images_of(self, count, _seed(seed), pixel_noise, self._labels(y, count), sampler, temperature)

    @torch.no_grad()
    def posterior(self, x: Tensor | np.ndarray, y: Tensor | None = None) -> Distribution:
        """q(z|x) of images (B, C, H, W), uint8 or float in [0, 1], as a distribution: `draw(eps)`, `log_prob(z)`."""
        if not isinstance(self.model, VAE):
            raise UserError(f"{type(self.model).__name__} has no single q(z|x); use run.model(x, noise).latents")
        x = self._checked(x)
        return self.model.infer(x, self._labels(y, len(x)))

    @torch.no_grad()
    def encode(self, x: Tensor | np.ndarray, y: Tensor | None = None) -> Tensor:
        """Posterior means (B, D) of images (B, C, H, W), uint8 or float in [0, 1]."""
        x = self._checked(x)
        return self.model.embed(x, self._labels(y, len(x)))

    @torch.no_grad()
    def decode(self, z: Tensor | np.ndarray, y: Tensor | None = None) -> Tensor:
        """Means of p(x|z), (N, D) -> (N, C, H, W) in [0, 1]."""
        if not isinstance(self.model, VAE):
            raise UserError(f"{type(self.model).__name__} has no single z to decode; use run.reconstruct(x)")
        z = _as_tensor("z", z)
        if z.dim() != 2 or z.shape[1] != self.model.latent_dim:
            raise ValueError(f"z must have the shape (N, {self.model.latent_dim}), got {tuple(z.shape)}")
        params = self.model.decode(z.float().to(self._device), self._labels(y, len(z)))
        return self.model.likelihood.mean(params)

    @torch.no_grad()
    def reconstruct(self, x: Tensor | np.ndarray, y: Tensor | None = None) -> Tensor:
        """Images decoded from their posterior means, (B, C, H, W) in [0, 1]."""
        x = self._checked(x)
        return self.model.reconstruct(x, self._labels(y, len(x)))

    def evaluate(self, split: str = "test", importance_samples: int = 0) -> dict[str, float]:
        """Metrics on a split of the dataset the run was trained on, as in `summary.json`; this needs the dataset.

        On the kind of device that the run was trained on they are those of the record, to the last digit.

        Args:
            split: `test`, `val` or `train`.
            importance_samples: K > 0 adds `log_likelihood`, the bound with K samples (Burda et al., 2016), where the
                posterior has a density.
        """
        return self.report(split, Plan(importance_samples=importance_samples)).metrics

    def report(
        self,
        split: str = "test",
        plan: Plan | None = None,
        advance: Callable[[int], None] = nothing,
        begin: Callable[[str], None] = nothing,
    ) -> Report:
        """The same metrics and those that a plan names, with their standard errors and settings.

        Args:
            split: `test`, `val` or `train`.
            plan: what to measure; without one that which takes no longer than the ELBO.
            advance: called with numbers of images that a measure, or the importance-weighted bound, has done.
            begin: called with the name of each before it.

        Examples:
            >>> run.report(plan=Plan(("aggregate", "probe"), importance_samples=5000, limit=200)).metrics
        """
        check_choice("split", split, SPLITS)
        return report(self, split, Plan(QUICK) if plan is None else plan, self._threads(), advance, begin)

    def recorded(self, split: str) -> dict[str, float]:
        """What `summary.json` holds of a split that was evaluated, `test` or `val`; of `train` it holds other means."""
        metrics = self.summary.get("metrics", {}) if split != "train" else {}
        pairs = ((name.partition("/"), value) for name, value in metrics.items())
        return {name: value for (of, _, name), value in pairs if of == split}

    def _threads(self) -> int:
        """As many as the run was trained with, on which the last digits depend, or all, where these are fewer."""
        threads, most = self.summary.get("threads"), torch.get_num_threads()
        return min(threads, most) if isinstance(threads, int) and threads > 0 else most

    def _checked(self, x: Tensor | np.ndarray) -> Tensor:
        x = _as_tensor("x", x)
        shape = self.facts.image_shape
        if x.dim() != 4 or tuple(x.shape[1:]) != shape:
            raise ValueError(f"x must have the shape (B, {', '.join(map(str, shape))}), got {tuple(x.shape)}")
        x = x.to(self._device)
        if x.dtype == torch.uint8:
            return unit_interval(x)
        if not x.is_floating_point():
            advice = "x.float() makes pixels" if x.dtype == torch.bool else "x.to(torch.uint8) makes levels"
            raise ValueError(f"x must be uint8 or float in [0, 1], got {x.dtype}; {advice} of it")
        if not ((x >= 0) & (x <= 1)).all():  # nan is neither
            found = f"{x.min().item():g} to {x.max().item():g}"
            raise ValueError(f"x must be uint8 or float in [0, 1], got {found}; bring it there, levels by x / 255")
        return x.float()

    def _labels(self, y: Tensor | None, count: int) -> Tensor | None:
        """The labels on the model's device; ValueError unless there are as many as are needed, or none."""
        if not self.model.takes_labels:
            if y is not None:
                raise ValueError("y must be left out, for this model takes no labels")
            return None
        labels = None if y is None else _as_tensor("y", y)
        if labels is None or tuple(labels.shape) != (count,):
            raise ValueError(f"y must be the labels ({count},) that this model takes, got {y!r}")
        return labels.long().to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_run(path: str | Path, trust: Iterable[str] = (), device: str | torch.device = "cpu") -> Run:
    """A run with the weights of its best epoch; runs no code that the run directory brings.

    Args:
        path: the run directory, or the name of one on the Hugging Face hub, `hf://USER/NAME[@REVISION]`.
        trust: packages outside vaelab whose classes the run's config may name, such as the one with your own model.
        device: where the model is to be, as in `trainer.device`; `auto` is the best there is.

    Raises:
        UserError: if the directory is no run, has no weights yet or is damaged, its config names code that is not
            trusted, or the device is not there.

    Examples:
        >>> run = vaelab.load_run("outputs/mnist-mlp/20260101_120000-0a1b2c3d")
        >>> images = run.sample(10)  # (10, 1, 28, 28)
    """
    path = fetched(Path(path))
    found = pick_device(str(device), key="device")
    config = read_config(path)
    best_of_run = path / "checkpoints" / "best.pt"
    saved = checkpoint.load(best_of_run)
    if saved is None and not best_of_run.exists() and (path / "model.safetensors").exists():
        raise UserError(f"{best_of_run} is not there, which a run is loaded from; copy it too, with its .sha256")
    if saved is None:
        raise UserError(f"{path} has no weights yet; go on with: {resuming(path)}")
    trusted = tuple(trust)
    try:
        best = restored.best(saved)
        with in_memory("the model", f"{path} describes one that is too large for this machine"):
            model = Builder(config, trusted).model(best.facts).eval()
        model.load_state_dict(restored.weights("weights", best.weights, model))
        model = model.to(found)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = one_line(error, 200)
        raise UserError(f"{path}/config.yaml does not fit the weights in {path}/checkpoints ({reason})") from error
    return Run(path, on_this_machine(config), model, best.facts, trusted, best.objective)


def _as_tensor(name: str, value: Tensor | np.ndarray) -> Tensor:
    """A tensor as it is, an array as a tensor of its own; ValueError, which begins with the name, for anything else."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name} must be a torch tensor or a numpy array, got {type(value).__name__}")
    try:
        return torch.from_numpy(value.copy())  # an array may be read-only or run backwards, a tensor may not
    except TypeError as error:
        raise ValueError(f"{name} must be an array of numbers, got {value.dtype}") from error


def _seed(seed: int | None) -> int:
    return secrets.randbits(63) if seed is None else seed
