"""A finished run measured on its dataset."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from vaelab.dataset.images import Dataset, Split
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.evaluation.importance import log_likelihood
from vaelab.evaluation.report import Plan, Report
from vaelab.evaluation.standard_errors import KeepingObjective, compares_images
from vaelab.evaluation.subject import Found, Subject, mean_and_error, nothing
from vaelab.machine.device import device_name, precision_of
from vaelab.machine.threads import own_number_of_threads
from vaelab.parts import CROSS_ENTROPY
from vaelab.run.build import Builder

if TYPE_CHECKING:
    from vaelab.run.load import Run


def report(
    run: "Run",
    split: str,
    plan: Plan,
    threads: int,
    advance: Callable[[int], None] = nothing,
    begin: Callable[[str], None] = nothing,
) -> Report:
    """The ELBO and its terms as a training reports them, and what the plan names.

    Args:
        run: of which the dataset is on this machine.
        split: `test`, `val` or `train`.
        plan: what to measure.
        threads: as the training had them, on which the last digits depend; importance weighting takes all there are.
        advance: called with numbers of images that a measure, or the importance-weighted bound, has done.
        begin: called with the name of each before it.

    Raises:
        UserError: if the split is empty or of other images, or importance samples are asked for where log p(x) is none.
    """
    dataset = run.dataset
    chosen, whole = _images(run, dataset, split, plan.limit)
    if plan.importance_samples and run.model.likelihood.pixels[dataset.pixel_kind] == CROSS_ENTROPY:
        raise UserError(
            "log p(x) needs a likelihood, and this run was trained on grey values with the cross-entropy, which is "
            "none; evaluate it without importance samples"
        )
    trainer = Builder(run.config, run.trusted).trainer()
    batch = trainer.eval_batch_size
    with precision_of(trainer.precision):
        with own_number_of_threads():
            torch.set_num_threads(threads)
            begin("elbo")
            found = Report(_settings(run, split, plan, len(chosen.images), whole))
            found.add(_elbo(run, dataset, chosen, batch, advance))
            found.measure(plan, Subject(run.model, dataset, chosen, batch, plan.seed, advance, plan.sampler), begin)
        if plan.importance_samples and "elbo" not in found.metrics:
            found.left_out["log_likelihood"] = "needs a posterior with a density, which this model has not"
        elif plan.importance_samples:
            begin("log_likelihood")
            found.add(_importance_weighted(run, dataset, chosen, batch, plan, advance))
    return found


def _images(run: "Run", dataset: Dataset, split: str, limit: int | None) -> tuple[Split, int]:
    """The images to measure, spread evenly over the split where they are fewer, and how many it has."""
    found = dataset.test() if split == "test" else getattr(dataset, split)
    count = len(found.images)
    if not count:
        raise UserError(f"the run kept no {split} images (dataset.val_size=0); evaluate another split")
    shape = tuple(found.images.shape[1:])
    if shape != run.facts.image_shape:
        raise UserError(f"{dataset.name} must have the images {run.facts.image_shape} of the training, got {shape}")
    if limit is None or limit >= count:
        return found, count
    return found.at(torch.arange(limit) * count // limit), count


def _elbo(run: "Run", dataset: Dataset, chosen: Split, batch: int, advance: Callable[[int], None]) -> Found:
    objective = KeepingObjective(run.objective, advance)
    metrics = evaluate(run.model, objective, dataset, chosen, batch)
    if compares_images(run.model):
        return Found(metrics, setting="the batches: no mean over images, so no standard error")
    return Found(metrics, objective.errors(metrics, chosen.images[0].numel()))


def _importance_weighted(
    run: "Run", dataset: Dataset, chosen: Split, batch: int, plan: Plan, advance: Callable[[int], None]
) -> Found:
    count = plan.importance_samples
    bounds = log_likelihood(run.model, dataset, chosen, count, batch, plan.seed, advance=advance)
    mean, error = mean_and_error(bounds)
    setting = f"a lower bound of log p(x) with {count:,} samples of z, seed {plan.seed}"
    return Found({"log_likelihood": mean}, {"log_likelihood": error}, setting=setting)


def _settings(run: "Run", split: str, plan: Plan, images: int, whole: int) -> dict[str, Any]:
    dataset, device = run.dataset, next(run.model.parameters()).device
    return {
        "run": str(run.path),
        "dataset": dataset.name,
        "binarize": dataset.binarize,
        "split": split,
        "images": images,
        "images_of_split": whole,
        "importance_samples": plan.importance_samples,
        "seed": plan.seed,
        "measures": list(plan.measures),
        "best_epoch": run.summary.get("best_epoch"),
        "device": device_name(device),
        "torch": torch.__version__,
    }
