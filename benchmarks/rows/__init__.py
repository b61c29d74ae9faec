"""The rows of a table, one a file, each a class `Row` that is built from a Job.

train(after_step)   trains job.epochs epochs and calls after_step(images) after each step
load(weights)       copies the given weights into the network
loss(x, eps)        loss of a batch x (B, C, H, W) in [0, 1] with the noise eps (B, D), a mean over images in nats;
                    what train minimises (vaelab's tests hold its compiled step to it)
"""

from importlib import import_module
from typing import Any

from benchmarks.job import Job, UnavailableError


def make_row(job: Job) -> Any:
    """The row of a job; UnavailableError where its library is not there."""
    try:
        module = import_module(f"benchmarks.rows.{job.row}")
    except ModuleNotFoundError as error:
        if job.row in ("lightning", "pythae") and str(error.name).split(".")[0] == job.row:
            raise UnavailableError("not installed: pip install -e '.[bench]'") from error
        raise
    return module.Row(job)
