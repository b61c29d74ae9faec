"""One run from its config to its summary: build, train, test, and say how it ended."""

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

from torch import Tensor

from vaelab.errors import UserError, resuming
from vaelab.evaluation.metrics import changes_meaning, merit
from vaelab.machine.device import set_precision
from vaelab.machine.ranks import current
from vaelab.machine.threads import own_number_of_threads
from vaelab.run.build import Builder
from vaelab.run.output import RunOutput, RunSpec
from vaelab.run.results import final_metrics, measured_on, of_split, reached, show_results
from vaelab.run.rows import METRICS
from vaelab.run.saved import CONFIG
from vaelab.run.summary import FINISHED, PRUNED
from vaelab.training.loop import Trainer
from vaelab.training.signals import AfterValidation, Pruned, StopRequest

log = logging.getLogger(__name__)


class Company(Protocol):
    """The runs of a process that are trained side by side, as one of them sees them."""

    @property
    def stop(self) -> StopRequest:
        """Of the process."""

    def steps(self, trainer: Trainer) -> Iterator[Tensor | float | None]:
        """As `Trainer.own_steps`, made with the others' where that can be."""


def execute(
    spec: RunSpec,
    after_validation: AfterValidation | None = None,
    explore: Callable[[Path], list[str]] = lambda run_dir: [],
    company: Company | None = None,
) -> float:
    """Train, or resume, the run of a directory and write all that `conf/` asks for there.

    A run begins with its `config.yaml`, when all its parts are built: a mistake in the config leaves nothing.

    Args:
        spec: of the run.
        after_validation: called after each validation; it ends the run, and well, by raising Pruned.
        explore: makes a page of the run in its directory, where the logger asks for it, and returns its name.
        company: of the runs that it is trained with in one process.

    Returns:
        The figure of merit, in nats per image, higher is better: that of the epoch with the lowest validation loss;
        without validation images that of the training in the last epoch.

    Raises:
        UserError: for a mistake in the config, a loss that is not finite, a damaged checkpoint.
        Interrupted: after SIGTERM or SIGINT, with a checkpoint written once the run has begun.
    """
    ranks = current()
    if not spec.resumed and ranks.is_main_process:
        _require_no_run(spec)
    alone = nullcontext(company.stop) if company is not None else StopRequest()
    with alone as stop, own_number_of_threads(), RunOutput(spec, ranks.is_main_process) as output:
        builder = Builder(spec.config, spec.trusted, spec.overrides)
        if ranks.is_main_process:
            output.logger = builder.logger(spec.run_dir)
        with stop.at_once():  # preparing a large dataset takes as long as a training
            setup = builder.setup(ranks)
        output.keep_images(setup.dataset)
        set_precision(setup.config.precision)
        steps = None if company is None else company.steps
        trainer = Trainer(setup, output.logger, spec.run_dir, stop, ranks, after_validation, steps)
        if spec.resumed:
            trainer.restore(any(changes_meaning(given.split("=")[0], "val/loss") for given in spec.overrides))
        trainer.choose_threads()  # before W&B's process, which has a core to itself for a second
        output.begin(measured_on(setup))
        status = _fit(trainer)
        tested = status == FINISHED and setup.config.evaluate_test
        metrics, best_epoch = final_metrics(trainer, tested)
        results = reached(trainer, metrics, best_epoch)
        pages = explore(spec.run_dir) if status == FINISHED and output.logger.explore else []
        output.logger.log_pictures(pages)
        if tested or pages:
            row = {"step": results["step"], "epoch": results["epochs"]}
            output.logger.log({**row, **(of_split(metrics, "test") if tested else {})})
        output.end(status, results)
    if ranks.is_main_process:
        show_results(spec.run_dir, output.summary, pages)
    found = merit(metrics)
    assert found is not None  # every run has trained
    return found


def _fit(trainer: Trainer) -> str:
    """Train to the end and return `finished`, or to where the run is given up and return `pruned`."""
    try:
        trainer.fit()
    except Pruned as reason:
        log.info("%s", reason)
        # after the last epoch there is nothing left to save
        return PRUNED if trainer.progress.reported_step < trainer.total_steps else FINISHED
    return FINISHED


def _require_no_run(spec: RunSpec) -> None:
    if any((spec.run_dir / name).exists() for name in (CONFIG, METRICS)):
        again = resuming(spec.run_dir)
        raise UserError(f"{spec.run_dir} holds a run already; go on with it by {again}, or choose another directory")
