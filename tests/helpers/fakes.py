"""Small things that several test files share: a VAE, a dataset, a torchvision class."""

import json

import numpy as np
import torch
from PIL import Image
from torch import nn

from vaelab.dataset.images import Dataset, Split
from vaelab.distributions import Normal
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.model.mlp import networks
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.prior.normal import NormalPrior
from vaelab.vae import VAE


def small_vae(latent_dim: int = 3, prior=None, likelihood=None) -> VAE:
    """An MLP for 1 x 8 x 8 images, with a normal prior and a Bernoulli likelihood; its weights are always the same."""
    likelihood = likelihood or BernoulliLikelihood((1, 8, 8), centred=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, decoder = networks((1, 8, 8), latent_dim, likelihood.out_channels(1), hidden=[8], activation="relu")
        posterior = GaussianPosterior(encoder.out_features, latent_dim)
        return VAE(encoder, decoder, posterior, prior or NormalPrior(), likelihood, latent_dim)


class LabelledEncoder(nn.Module):
    """Each feature is the image's mean and its label."""

    takes_labels, out_features = True, 2

    def forward(self, x, y):
        return torch.stack([x.mean((1, 2, 3)), y.float()], -1)


class LabelledDecoder(nn.Module):
    """The logit of every pixel is the label."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z, y):
        return (self.scale * y.float())[:, None, None, None].expand(-1, 1, 8, 8)


class LabelledPrior(nn.Module):
    """p(z|y) = N(y, 1)."""

    def forward(self, infer, y):
        return Normal(y.float()[:, None].expand(-1, 2), torch.zeros(len(y), 2))


class FeaturesAsMean(nn.Module):
    """q(z|x) = N(h, 1)."""

    def forward(self, h):
        return Normal(h, torch.zeros_like(h))


def labelled_vae() -> VAE:
    """A conditional model of 1 x 8 x 8 images, whose latents and images tell the label that it was given."""
    likelihood = BernoulliLikelihood((1, 8, 8), centred=False)
    return VAE(LabelledEncoder(), LabelledDecoder(), FeaturesAsMean(), LabelledPrior(), likelihood, 2)


def small_split(count: int, kinds: int = 256) -> Split:
    """Images 1 x 8 x 8 of noise, the same in every call, with the labels 0, 1, 2, ... and after `kinds` again 0."""
    levels = torch.randint(256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(count))
    return Split(levels.to(torch.uint8), torch.arange(count).remainder(kinds).to(torch.uint8))


def small_dataset(val_size: int = 0, binarize: str = "none", kinds: int = 256) -> Dataset:
    """200 images to train and validate on, 50 to test on."""
    splits = {"train": small_split(200, kinds), "test": small_split(50, kinds)}
    return Dataset("small", splits.__getitem__, val_size, binarize)


class LevelsDataset(torch.utils.data.Dataset):
    """A dataset of torch's: 100 grey images of 8 x 8, each of its number's level, with the number's parity."""

    def __len__(self):
        return 100

    def __getitem__(self, number):
        return torch.full((1, 8, 8), number, dtype=torch.uint8), number % 2


class FakeTorchvision:
    """Stands in for a class of `torchvision.datasets`: gives `splits` as that class does, and counts its uses."""

    def __init__(self, splits: dict[str, tuple]) -> None:
        self.splits = splits
        self.uses = []

    def __call__(self, root, download, train=None, split=None):
        part = split if train is None else "train" if train else "test"
        self.uses.append(part)
        assert download
        self.data, self.targets = self.splits[part]
        return self


def pixels(path) -> np.ndarray:
    """The pixels of a PNG file, (height, width, 3) uint8."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


class Killed(BaseException):
    """The process ends here: no `except Exception` sees it."""


def put_config(run_dir, text):
    """Change a run's `config.yaml` as its owner may, who accepts the change, or anybody else."""
    (run_dir / "config.yaml").write_text(text)
    (run_dir / "config.yaml.sha256").unlink(missing_ok=True)


def summary_of(run_dir):
    """A run's `summary.json` without its checksum, as one may be written that holds something else."""
    summary = json.loads((run_dir / "summary.json").read_text())
    summary.pop("checksum", None)
    return summary
