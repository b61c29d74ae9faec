"""One run from its config to its summary: build, train, test, and say how it ended."""

import logging
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vaelab.errors import UserError, one_line, resuming
from vaelab.evaluation.metrics import METRICS, NATS, changes_meaning, label, merit, metric, own_metrics
from vaelab.files import folder
from vaelab.machine.device import device_name, set_precision
from vaelab.machine.ranks import current
from vaelab.machine.threads import own_number_of_threads
from vaelab.run.build import Builder
from vaelab.run.logger import Logger, NoLogger
from vaelab.run.saved import write_config
from vaelab.run.summary import FAILED, FINISHED, KILLED, PRUNED, Summary
from vaelab.run.terminal import show, table
from vaelab.training import checkpoint, restored
from vaelab.training.loop import Experiment, Training
from vaelab.training.signals import AfterValidation, Interrupted, Pruned, StopRequest

log = logging.getLogger(__name__)

PACKAGES = ("torch", "torchvision", "hydra-core", "omegaconf", "wandb", "numpy")


def run_experiment(
    config: Mapping[str, Any],
    run_dir: Path,
    overrides: list[str],
    name: str,
    group: str | None,
    trusted: Iterable[str] | None,
    resumed: bool,
    after_validation: AfterValidation | None = None,
) -> float:
    """Train, or go on with, the run of a directory and write all that `conf/` asks for there.

    A run begins with its `config.yaml`, when all its parts are built: a mistake in the config leaves nothing.

    Args:
        config: resolved.
        run_dir: the run's directory, which exists.
        overrides: the command line, for the summary.
        name: of the run in W&B.
        group: of the sweep in W&B, or None.
        trusted: packages whose code a saved config may run; None for a config of the person's own.
        resumed: go on from the last checkpoint.
        after_validation: asked after each validation; it ends the run, and well, by raising Pruned.

    Returns:
        The figure of merit, in nats per image, higher is better: the validation ELBO of the best epoch, the one of the
        lowest validation loss; without validation images the training ELBO of the last.

    Raises:
        UserError: for a mistake in the config, a loss that is not finite, a damaged checkpoint.
        Interrupted: after SIGTERM or SIGINT, with a checkpoint written.
    """
    ranks = current()
    if not resumed and ranks.first and ((run_dir / "config.yaml").exists() or (run_dir / "metrics.jsonl").exists()):
        raise UserError(
            f"{run_dir} holds a run already; go on with it by {resuming(run_dir)}, or choose another directory"
        )
    told = {
        "overrides": overrides,
        "git_commit": _git_commit(),
        "name": name,
        "group": group,
        "choices": config.get("choices", {}),
    }
    summary = Summary(run_dir, told, resumed)
    if summary.lost and ranks.first:
        log.warning("summary.json is damaged, and written anew; with it are lost the overrides and seconds of before")

    begun = False  # until all parts are built, and a checkpoint fits them, nothing is written
    logger: Logger | NoLogger = NoLogger()
    with StopRequest() as stop, own_number_of_threads():
        try:
            builder = Builder(config, trusted, overrides)
            if ranks.first:
                logger = builder.logger(run_dir)
            experiment = builder.experiment(ranks)
            set_precision(experiment.trainer.precision)
            training = Training(experiment, logger, run_dir, stop, ranks, after_validation)
            if resumed:
                training.restore(any(changes_meaning(given.split("=")[0], "val/loss") for given in overrides))
            begun = True
            if ranks.first:
                for inner in ("", "checkpoints", "images", "wandb"):
                    folder.remove_temporaries(run_dir, inner)
                write_config(run_dir, {**config, "resume": None})
                summary.began()
            told = summary.content
            logger.start({**config, "git_commit": told["git_commit"]}, told["name"], told["group"])
            status = _train(training)
            metrics, best_epoch = _final_metrics(training, experiment, tested=status == FINISHED)
        except BaseException as error:
            how = KILLED if isinstance(error, Interrupted | KeyboardInterrupt) else FAILED
            if begun and ranks.first:
                summary.failed(how, error)
            logger.finish(how, {})
            raise
        progress = training.progress
        results = {
            "metrics": metrics,
            "setting": _setting(config, experiment),
            "best_epoch": best_epoch,
            "epochs": training.epochs_done,
            "step": progress.step,
            "ranks": ranks.size,
            "threads": progress.threads,
            "images_per_second": round(progress.images / progress.seconds, 1) if progress.seconds else None,
            "training_seconds": round(progress.seconds, 2),
            "versions": _versions(training.device),
        }
        if status == FINISHED:
            logger.log({"step": progress.step, "epoch": training.epochs_done, **_of(metrics, "test")})
        if ranks.first:
            summary.ended(status, {**results, "rows": logger.written})
        logger.finish(status, {**metrics, "best_epoch": best_epoch})
    if ranks.first:
        _print_table(run_dir, summary.content)
    found = merit(metrics)
    assert found is not None  # every run has trained
    return found


def _train(training: Training) -> str:
    """Train to the end and return `finished`, or to where the run is given up and return `pruned`."""
    try:
        training.run()
    except Pruned as reason:
        log.info("%s", reason)
        # after the last epoch there is nothing left to save
        return PRUNED if training.progress.reported_step < training.total_steps else FINISHED
    return FINISHED


def _final_metrics(training: Training, experiment: Experiment, tested: bool) -> tuple[dict[str, float], int]:
    """Training means of the last epoch, validation and, if wanted, test metrics of the best checkpoint, and its epoch.

    A run that was given up is not tested: a test is for runs that are compared in the end.
    """
    run_dir = training.run_dir
    saved = training.ranks.from_first(lambda: checkpoint.load(run_dir / "checkpoints" / "best.pt"))
    if saved is None:
        raise UserError(f"{run_dir} has no checkpoints/best.pt, which the test needs; start the run again")
    try:
        best = restored.best(saved)
        weights = restored.weights("weights", best.weights, training.model)
    except ValueError as error:
        raise UserError(
            f"the best checkpoint in {run_dir} does not fit the model ({one_line(error, 200)}); restore checkpoints "
            f"from a copy, or start the run again in another directory"
        ) from error
    by_split = {"train": training.progress.train, "val": best.val}
    if tested:
        by_split["test"] = _test(training, experiment, weights)
    metrics = {f"{split}/{name}": value for split, found in by_split.items() for name, value in found.items()}
    return metrics, best.epoch


def _test(training: Training, experiment: Experiment, weights: Mapping[str, Any]) -> dict[str, float]:
    model = training.model
    model.load_state_dict(weights)
    model.eval()
    return training.evaluate("test", experiment.dataset.test().images)


def _setting(config: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    vae, dataset = experiment.vae, experiment.dataset
    return {
        "dataset": dataset.name,
        "binarize": dataset.binarize,
        "likelihood": type(vae.likelihood).__name__,
        "log_prob_is": vae.likelihood.supports[dataset.support],
        "samples_of_z": experiment.objective.samples,
        "val_size": len(dataset.val.images),
        "latent_dim": vae.latent_dim,
        "precision": experiment.trainer.precision,
        "parameters": sum(parameter.numel() for parameter in vae.parameters()),
        "unit": "nats per image, a mean over the split's images; bits_per_dim in bits",
    }


def _versions(device: torch.device) -> dict[str, str]:
    versions = {"python": platform.python_version(), "device": device_name(device)}
    for package in ("vaelab", *PACKAGES):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _of(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith(f"{split}/")}


def _print_table(run_dir: Path, summary: Mapping[str, Any]) -> None:
    splits = [split for split in ("train", "val", "test") if _of(summary["metrics"], split)]
    heads = {
        "train": "train, last epoch",
        "val": f"validation, epoch {summary['best_epoch']}",
        "test": f"test, epoch {summary['best_epoch']}",
    }
    made = table(NATS, numbers=tuple(heads[split] for split in splits))
    own = (metric(name).name for name in own_metrics(summary["metrics"]))
    for row in dict.fromkeys((*METRICS, *own)):
        values = [summary["metrics"].get(f"{split}/{row}") for split in splits]
        if any(value is not None for value in values):
            digits = metric(row).digits
            made.add_row(label(row), *("" if value is None else f"{value:.{digits}f}" for value in values))
    speed = summary["images_per_second"]
    pictures = [name for name in ("samples.png", "reconstructions.png", "curves.png") if (run_dir / name).exists()]
    show(
        made,
        f"{summary['seconds']:.1f} s in all" + (f", {speed:,.0f} images/s in training" if speed else ""),
        f"run directory  {run_dir}",
        *([f"pictures       {run_dir}/{', '.join(pictures)}"] if pictures else []),
    )
