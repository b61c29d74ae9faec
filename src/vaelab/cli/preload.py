"""Imports what every job of a sweep needs, for the fork server that the jobs' processes are copies of."""

import gc
from contextlib import suppress

import sklearn.datasets
import wandb

import vaelab.cli.job
import vaelab.run.execute
from vaelab.evaluation.pictures.figures import bars, drawn

with suppress(ImportError):  # 0.2 s of each run of W&B's, which may call it otherwise one day
    import wandb.sdk.launch

# a first picture imports matplotlib and reads fonts, 0.2 s of each job
drawn(bars([1, 2], ["1", "2"], {"one": [True, False], "other": [False, True]}, ("x", "y"), "title"))
gc.freeze()  # each job would look through all of this for garbage, for 0.25 s and more

__all__ = ["sklearn", "vaelab", "wandb"]
