"""The one table of metrics: what each is called, its unit, which way is better; and the figure of merit of a run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

NATS = "nats per image"
UP, DOWN = "up", "down"


@dataclass(frozen=True)
class Metric:
    """A quantity that is measured on a split.

    Args:
        name: without the split, such as `elbo`.
        label: for people.
        unit: of its values.
        better: `up`, `down`, or None where neither is better by itself.
        digits: after the decimal point.
    """

    name: str
    label: str
    unit: str = NATS
    better: str | None = None
    digits: int = 2


METRICS = {
    metric.name: metric
    for metric in (
        Metric("elbo", "ELBO", better=UP),
        Metric("reconstruction", "reconstruction", better=UP),
        Metric("kl", "KL"),
        Metric("loss", "loss", better=DOWN),
        Metric("bits_per_dim", "bits/dim", "bits", DOWN, digits=4),
        Metric("log_likelihood", "log p(x)", better=UP),
        Metric("active_units", "active units", "units", digits=0),
        Metric("codes_used", "codes used", "share", digits=3),
        Metric("code_perplexity", "code perplexity", "codes"),
        Metric("psnr", "PSNR", "dB", UP),
        Metric("ssim", "SSIM", "index", UP, digits=4),
        Metric("mutual_information", "I(x; z)"),
        Metric("marginal_kl", "marginal KL"),
        Metric("total_correlation", "total correlation"),
        Metric("dimension_wise_kl", "dimension-wise KL"),
        Metric("probe_accuracy", "probe accuracy", "share", UP, digits=4),
        Metric("mig", "MIG", "index", UP, digits=4),
        Metric("dci_disentanglement", "DCI disentanglement", "index", UP, digits=4),
        Metric("dci_completeness", "DCI completeness", "index", UP, digits=4),
        Metric("dci_informativeness", "DCI informativeness", "share", UP, digits=4),
        Metric("sap", "SAP", "index", UP, digits=4),
        Metric("frechet_classifier_distance", "Fréchet classifier distance", "squared features", DOWN, digits=3),
        Metric("fid", "FID", "squared features", DOWN),
    )
}

# By what runs are ranked, searched and compared: higher is better, whatever weights were in the loss.
MERIT = "val/elbo"
MERIT_WITHOUT_VALIDATION = "train/elbo"

# Under two values of such a key, or of one below it, an ELBO is of other images, of other pixels or of other noise ...
CHANGES_ELBO = ("dataset", "likelihood", "trainer.eval_batch_size")
# ... and under these a loss is another function.
CHANGES_LOSS = (*CHANGES_ELBO, "objective")


def metric(name: str) -> Metric:
    """The metric of a name with or without its split; one that is not in the table has no known unit."""
    bare = name.rpartition("/")[2]
    return METRICS.get(bare) or Metric(bare, bare, unit="")


def label(name: str) -> str:
    """A metric of a split for people: `val ELBO` for `val/elbo`."""
    split, _, _ = name.rpartition("/")
    return f"{split} {metric(name).label}".strip()


def merit(metrics: Mapping[str, float]) -> float | None:
    """A run's figure of merit, higher is better: the ELBO of its validation images, or of its training without any.

    Of a model without a density, which has no ELBO, it is the reconstruction.
    """
    names = (f"{split}/{name}" for split in ("val", "train") for name in ("elbo", "reconstruction"))
    return next((metrics[name] for name in names if name in metrics), None)


def own_metrics(names: Iterable[str]) -> list[str]:
    """Those names, with their splits, that are not in the table: metrics of a part of one's own."""
    return sorted({name for name in names if metric(name).name not in METRICS})


def changes_meaning(key: str, name: str) -> bool:
    """Whether a metric is not the same thing under two values of a key, so that neither value can be called better."""
    if key == "dataset.root":  # the same images elsewhere
        return False
    keys = CHANGES_LOSS if metric(name).name == "loss" else CHANGES_ELBO
    return f"{key.lstrip('+')}.".startswith(tuple(f"{other}." for other in keys))
