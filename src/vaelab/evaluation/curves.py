"""Metrics over epochs, from the rows of a run."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

Curve = list[tuple[float, float]]  # (epoch, value)
CURVES = ("elbo", "reconstruction", "kl", "loss")


def charts(runs: Iterable[Collection[str]]) -> list[str]:
    """Curves to draw of runs with metrics of these names: the ELBO and its terms; the loss where one has no ELBO."""
    runs = [set(names) for names in runs]
    found = {name.rpartition("/")[2] for names in runs for name in names}
    without_elbo = any(names and not {"train/elbo", "val/elbo"} & names for names in runs)
    return [name for name in CURVES if name in found and (name != "loss" or without_elbo)]


def training_curve(rows: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """Means over an epoch, each row weighted by its steps; the last epoch perhaps unfinished."""
    epochs: dict[int, tuple[float, float, float]] = {}  # number -> (end, mean, steps)
    before = 0
    for row in (row for row in rows if name in row):
        number, steps = math.ceil(row["epoch"]), row["step"] - before
        _, mean, total = epochs.get(number, (0.0, 0.0, 0))
        if steps > 0:
            total += steps
            mean += (row[name] - mean) * (steps / total)  # a sum of large values could exceed what a float holds
        epochs[number] = (row["epoch"], mean, total)
        before = row["step"]
    return [(end, mean) for end, mean, total in epochs.values() if total]


def validation_curve(rows: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """The values as they were logged."""
    return [(row["epoch"], row[name]) for row in rows if name in row]
