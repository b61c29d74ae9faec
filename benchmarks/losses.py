"""Do all rows compute the same loss? Asked before anything is timed."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.job import Column, Job, MistakeError, UnavailableError
from benchmarks.worker import Worker, call

TOLERANCE = 1e-5  # relative, in float32
BATCH = 32


def losses_of(job: Job, models: list[str]) -> dict[str, float]:
    """The row's loss with each model, of a fixed batch with fixed weights and noise, in nats per image."""
    import torch

    from benchmarks.job import LATENT_DIM
    from benchmarks.network import IMAGE_SHAPES, fixed_weights
    from benchmarks.rows import make_row

    losses = {}
    for model in models:
        row = make_row(replace(job, column=Column(model, BATCH, "float32")))
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(256, (BATCH, *IMAGE_SHAPES[model]), generator=generator) / 255
        eps = torch.randn(BATCH, LATENT_DIM, generator=generator)
        row.load(fixed_weights(model))
        losses[model] = row.loss(x.to(job.device), eps.to(job.device)).item()
    return losses


def same_losses(models: list[str], rows: list[str], job: Job) -> dict[str, dict[str, float]]:
    """By model, the loss of each row that can run here.

    Raises:
        MistakeError: if two of a model differ by more than TOLERANCE.
    """
    by_row = {}
    with ExitStack() as stack:
        workers = {row: stack.enter_context(Worker(call, replace(job, row=row), losses_of, models)) for row in rows}
        for row, worker in workers.items():
            try:
                by_row[row] = worker.answer()["result"]
            except UnavailableError:
                continue  # the table says why
    by_model = {model: {row: losses[model] for row, losses in by_row.items()} for model in models}
    for model, losses in by_model.items():
        require_equal(model, losses)
    return by_model


def require_equal(model: str, losses: Mapping[str, float]) -> None:
    """Raise MistakeError if the losses of a model differ."""
    values = list(losses.values())
    # written so that a loss that is not a number fails
    if not all(abs(value - values[0]) <= TOLERANCE * abs(values[0]) for value in values):
        found = ", ".join(f"{row} {loss:.6g}" for row, loss in losses.items())
        raise MistakeError(f"the rows of {model} must compute the same loss to be compared, got {found}")
