"""Imports what every job of a sweep needs, for the fork server that the jobs' processes are copies of."""

import sklearn.datasets
import torch._dynamo  # torch.optim asks for it when the first optimizer is made
import torchvision
import wandb

import vaelab.cli.job
import vaelab.run.execute
from vaelab.files.current_folder import elsewhere

with elsewhere():  # where no matplotlibrc of somebody else is
    import matplotlib.pyplot

__all__ = ["matplotlib", "sklearn", "torch", "torchvision", "vaelab", "wandb"]
