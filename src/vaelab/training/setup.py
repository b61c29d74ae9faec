"""What a training is made of."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vaelab.dataset.images import Dataset
from vaelab.parts import Model, Objective
from vaelab.training.config import TrainerConfig


@dataclass(frozen=True)
class Setup:
    """The objects of a training.

    Args:
        model: on the device where it is to be trained.
        dataset: what to train and validate on.
        objective: what to minimise.
        optimizer: over the parameters of `model`.
        schedule: from (step, total steps) to a factor of the optimizer's learning rate.
        config: how long and how.
        seed: of the weights, the order of the images and the noise.
    """

    model: Model
    dataset: Dataset
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], float]
    config: TrainerConfig
    seed: int
