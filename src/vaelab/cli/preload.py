"""Imports what every job of a sweep needs, for the fork server that the jobs' processes are copies of."""

import sklearn.datasets
import wandb

import vaelab.cli.job
import vaelab.run.execute
from vaelab.files.current_folder import elsewhere

with elsewhere():  # where no matplotlibrc of somebody else is
    import matplotlib.backends.backend_agg
    import matplotlib.figure

__all__ = ["matplotlib", "sklearn", "vaelab", "wandb"]
