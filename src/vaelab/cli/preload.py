"""Imports what every job of a sweep needs, for the fork server that the jobs' processes are copies of."""

import sklearn.datasets
import torch._dynamo  # torch.optim asks for it when the first optimizer is made
import torchvision
import wandb

import vaelab.cli.launch
import vaelab.run.execute
from vaelab.files.folder import elsewhere

with elsewhere():  # where there is no matplotlibrc of a stranger's
    import matplotlib.pyplot

__all__ = ["matplotlib", "sklearn", "torch", "torchvision", "vaelab", "wandb"]
