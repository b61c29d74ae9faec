"""Finished runs as objects, for notebooks and the command line."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from vaelab import checkpoint, pictures
from vaelab.build import Builder
from vaelab.errors import UserError, one_line
from vaelab.evaluate import evaluate, log_likelihood
from vaelab.ops import unit_interval
from vaelab.parts import CROSS_ENTROPY
from vaelab.records import read_metrics, read_summary
from vaelab.train import Trainer
from vaelab.vae import VAE


@dataclass(frozen=True)
class Run:
    """A run directory as an object; see `load_run`.

    Attributes:
        path: the run directory.
        config: the resolved config, plain dictionaries.
        model: the VAE with the weights of the best epoch, on the CPU.
        image_shape: (C, H, W).
    """

    path: Path
    config: dict[str, Any]
    model: VAE
    image_shape: tuple[int, int, int]
    trusted: tuple[str, ...] = ()

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`."""
        return read_metrics(self.path)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The contents of `summary.json`."""
        return read_summary(self.path)

    def sample(self, count: int, seed: int = 0, pixel_noise: bool = False) -> Tensor:
        """Images (count, C, H, W) in [0, 1] from the prior: means of p(x|z), or draws from it with `pixel_noise`."""
        return pictures.sample(self.model, count, seed, pixel_noise)

    def encode(self, x: Tensor) -> Tensor:
        """Posterior means (B, D) of images (B, C, H, W), uint8 or float in [0, 1]."""
        return pictures.encode(self.model, self._checked(x))

    def decode(self, z: Tensor) -> Tensor:
        """Means of p(x|z), (N, D) -> (N, C, H, W) in [0, 1]."""
        if z.dim() != 2 or z.shape[1] != self.model.latent_dim:
            raise ValueError(f"z must have the shape (N, {self.model.latent_dim}), got {tuple(z.shape)}")
        return pictures.decode(self.model, z)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images decoded from their posterior means, (B, C, H, W) in [0, 1]."""
        return self.decode(self.encode(x))

    def evaluate(self, split: str = "test", importance_samples: int = 0) -> dict[str, float]:
        """Metrics on a split of the dataset the run was trained on, as in `summary.json`; this needs the dataset.

        Args:
            split: `test`, `val` or `train`.
            importance_samples: K > 0 adds `log_likelihood`, the bound with K samples (Burda et al., 2016).
        """
        builder = Builder(self.config, self.trusted)
        dataset, trainer = builder.dataset(), builder.part("trainer")
        assert isinstance(trainer, Trainer)
        images = {"test": dataset.test, "val": lambda: dataset.val, "train": lambda: dataset.train}[split]().images
        if not len(images):
            raise UserError(f"the run kept no {split} images (dataset.val_size=0); evaluate another split")
        metrics = evaluate(self.model, builder.objective(), dataset, images, trainer.eval_batch_size)
        if importance_samples and self.model.likelihood.supports[dataset.support] == CROSS_ENTROPY:
            raise UserError(
                "log p(x) needs a likelihood, and this run was trained on grey values with the cross-entropy, which is "
                "none; "
                "evaluate it without importance samples"
            )
        if importance_samples:
            batch = max(1, trainer.eval_batch_size // 10)
            metrics["log_likelihood"] = log_likelihood(self.model, dataset, images, importance_samples, batch)
        return metrics

    def _checked(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(
                f"x must have the shape (B, {', '.join(map(str, self.image_shape))}), got {tuple(x.shape)}"
            )
        return unit_interval(x) if x.dtype == torch.uint8 else x


def load_run(path: str | Path, trust: Iterable[str] = ()) -> Run:
    """A run with the weights of its best epoch; runs no code that the run directory brings.

    Args:
        path: the run directory.
        trust: packages outside vaelab whose classes the run's config may name, such as the one with your own model.

    Raises:
        UserError: if the directory is no run, has no weights yet or is damaged, or its config names code that is not
            trusted.

    Example:
        >>> run = vaelab.load_run("outputs/mnist-mlp/20260101_120000-0a1b2c3d")
        >>> images = run.sample(10)  # (10, 1, 28, 28)
    """
    path = Path(path)
    try:
        config = yaml.safe_load((path / "config.yaml").read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} must be the directory of a run, with a readable config.yaml") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}/config.yaml must hold the keys of a config, got {config!r}")
    best = checkpoint.load(path / "checkpoints" / "best.pt")
    if best is None:
        raise UserError(f"{path} has no weights yet; go on with: python run.py resume={path}")
    trusted = tuple(trust)
    try:
        image_shape = tuple(best["image_shape"])
        model = Builder(config, trusted).vae(image_shape).eval()
        model.load_state_dict(best["vae"])
    except (KeyError, RuntimeError) as error:
        reason = one_line(error, 200)
        raise UserError(f"{path}/config.yaml does not fit the weights in {path}/checkpoints ({reason})") from error
    return Run(path, config, model, image_shape, trusted)
