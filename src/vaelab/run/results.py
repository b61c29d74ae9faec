"""Final metrics of a run, what they were measured on, and the table that shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaelab.errors import UserError, one_line
from vaelab.evaluation.metrics import METRICS, metric, own_metrics
from vaelab.evaluation.pictures.animation import ANIMATION
from vaelab.evaluation.pictures.draw import PICTURES
from vaelab.run.environment import versions
from vaelab.run.terminal import show, table
from vaelab.training import checkpoint, restored
from vaelab.training.loop import Trainer
from vaelab.training.setup import Setup

SHOWN = (*(f"{name}.png" for name in PICTURES), ANIMATION, "curves.png")


def final_metrics(trainer: Trainer, tested: bool) -> tuple[dict[str, float], int]:
    """Training means of the last epoch, validation and, if wanted, test metrics of the best checkpoint, and its epoch.

    A run that was pruned, or whose settings are being tuned, is not tested: a test is for results that are reported.

    Raises:
        UserError: if there is no such checkpoint, or it does not fit.
    """
    run_dir = trainer.run_dir
    saved = trainer.ranks.broadcast(lambda: checkpoint.load(run_dir / "checkpoints" / "best.pt"))
    if saved is None:
        raise UserError(f"{run_dir} has no checkpoints/best.pt, which the test needs; start the run again")
    try:
        best = restored.best(saved)
        weights = restored.weights("weights", best.weights, trainer.evaluated)
        networks = restored.networks(best.objective, trainer.objective)
    except ValueError as error:
        raise UserError(
            f"the best checkpoint in {run_dir} does not fit the model ({one_line(error, 200)}); restore checkpoints "
            f"from a copy, or start the run again in another directory"
        ) from error
    by_split = {"train": trainer.progress.train, "val": best.val}
    if tested:
        trainer.evaluated.load_state_dict(weights)
        trainer.evaluated.eval()
        if networks is not None:
            trainer.objective.load_state_dict(networks)
        by_split["test"] = trainer.evaluate("test")
    return {f"{split}/{name}": value for split, found in by_split.items() for name, value in found.items()}, best.epoch


def reached(trainer: Trainer, metrics: Mapping[str, float], best_epoch: int) -> dict[str, Any]:
    """What `summary.json` holds of a run that has ended."""
    progress = trainer.progress
    return {
        "metrics": metrics,
        "best_epoch": best_epoch,
        "epochs": trainer.epochs_done,
        "step": progress.step,
        "ranks": trainer.ranks.size,
        "threads": progress.threads,
        "images_per_second": round(progress.images / progress.seconds, 1) if progress.seconds else None,
        "training_seconds": round(progress.seconds, 2),
        "versions": versions(trainer.device),
    }


def of_split(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """The metrics of one split, with their whole names."""
    return {name: value for name, value in metrics.items() if name.startswith(f"{split}/")}


def show_results(run_dir: Path, summary: Mapping[str, Any], pages: Sequence[str]) -> None:
    """Print the final metrics of a run, its speed, where it lies and the pages that were made of it."""
    metrics = summary["metrics"]
    heads = {
        "train": "train, last epoch",
        "val": f"validation, epoch {summary['best_epoch']}",
        "test": f"test, epoch {summary['best_epoch']}",
    }
    splits = [split for split in heads if of_split(metrics, split)]
    shown = table("metric", numbers=tuple(heads[split] for split in splits), last=("unit",))
    shown.columns[0].no_wrap = True  # in a narrow terminal the heads of the numbers give way, at their spaces
    for name in dict.fromkeys((*METRICS, *(metric(own).name for own in own_metrics(metrics)))):
        values = [metrics.get(f"{split}/{name}") for split in splits]
        if any(value is not None for value in values):
            of = metric(name)
            shown.add_row(of.label, *("" if value is None else f"{value:.{of.digits}f}" for value in values), of.unit)
    speed = summary["images_per_second"]
    pictures = ", ".join(name for name in SHOWN if (run_dir / name).exists())
    show(
        shown,
        f"{summary['seconds']:.1f} s in all" + (f", {speed:,.0f} images/s in training" if speed else ""),
        f"run directory  {run_dir}",
        *([f"pictures       {run_dir}/{pictures}"] if pictures else []),
        *(f"explorer       {run_dir}/{page}" for page in pages),
    )


def measured_on(setup: Setup) -> dict[str, Any]:
    """What the metrics of a run are measured on, and their units."""
    model, dataset = setup.model, setup.dataset
    return {
        "dataset": dataset.name,
        "binarize": dataset.binarize,
        "likelihood": type(model.likelihood).__name__,
        "log_prob_is": model.likelihood.pixels[dataset.pixel_kind],
        "samples_of_z": setup.objective.samples,
        "val_size": len(dataset.val.images),
        "latent_dim": model.latent_dim,
        "precision": setup.config.precision,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "unit": "nats per image, a mean over the split's images; bits_per_dim in bits, own terms in no known unit",
    }
