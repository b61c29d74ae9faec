"""A small classifier of a dataset's images, whose features measure distances between sets of images."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.dataset.images import Dataset
from vaelab.ops import generator, unit_interval

FEATURES = 64
BATCH = 128
STEPS = 600
RATE = 2e-3


class Classifier(nn.Module):
    """Two convolutions and a hidden layer: images (B, C, H, W) in [0, 1] -> features (B, 64) -> logits."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(32 * -(-height // 4) * -(-width // 4), FEATURES),
            nn.SiLU(),
        )
        self.head = nn.Linear(FEATURES, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Features (B, 64)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.head(self.features(x))


def trained(dataset: Dataset, seed: int, device: torch.device, steps: int = STEPS) -> Classifier:
    """A classifier of the training images, grey values where these are drawn from later; the same for a seed.

    600 steps of 128 images with Adam; the weights that it starts from, and the images of each step, come from the seed.
    """
    with torch.random.fork_rng(devices=[]):
        # as `torch.manual_seed`, which would seed GPUs too
        torch.default_generator.manual_seed(generator(seed, "classifier weights").initial_seed())
        model = Classifier(dataset.image_shape, dataset.num_classes)
    model = model.to(device)
    images, labels = dataset.train.images, dataset.train.labels
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        chosen = torch.randint(len(images), (BATCH,), generator=generator(seed, "classifier", step))
        x, y = unit_interval(images[chosen]).to(device), labels[chosen].long().to(device)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)
