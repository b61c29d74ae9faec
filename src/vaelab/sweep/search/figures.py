"""Pictures of a search: its history, and the importance of each variable."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from vaelab.evaluation.metrics import label
from vaelab.evaluation.pictures.figures import save_figure, subplots
from vaelab.sweep.figures import with_unit

Points = Sequence[tuple[int, float]]  # (trial, value)


def save_search_history(
    path: Path,
    values: Mapping[str, Points],
    directions: Mapping[str, str],
    pruned: Points,
    title: str,
) -> None:
    """Draw what each trial of a search reached, a panel an objective, and the best so far.

    Args:
        path: of the picture.
        values: by objective, (trial, value) of the finished trials in their order.
        directions: by objective, `minimize` or `maximize`.
        pruned: (trial, last value) of those that were given up.
        title: of the picture.
    """
    figure, axes = subplots(len(values), (max(8, 4.5 * len(values)), 4))
    for axis, (name, points) in zip(axes, values.items(), strict=True):
        _draw_history(axis, points, pruned, min if directions[name] == "minimize" else max)
        axis.set(xlabel="trial", ylabel=with_unit(name))
    save_figure(figure, path, title)


def save_importances(path: Path, importances: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Draw the share of each variable of a search in the variance of its objectives, a panel each."""
    most = max(map(len, importances.values()))
    figure, axes = subplots(len(importances), (max(8, 5 * len(importances)), 1.5 + 0.4 * most))
    for axis, (name, shares) in zip(axes, importances.items(), strict=True):
        smallest_first = sorted(shares.items(), key=lambda item: item[1])
        bars = axis.barh(*zip(*smallest_first, strict=True))
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.set(xlabel=f"share of the variance of {label(name)}", xlim=(0, 1.1))
        axis.grid(alpha=0.3, axis="x")
    save_figure(figure, path, title)


def _draw_history(axis: Any, points: Points, pruned: Points, better: Callable[..., float]) -> None:
    low, high = _limits([value for _, value in [*points, *pruned]], better)
    groups = ((points, "o", "C0", "finished"), (pruned, "x", "0.5", "pruned, last value"))
    for trials, marker, color, meaning in groups:
        if trials:
            outside = sum(not low <= value <= high for _, value in trials)
            meaning += f" ({outside} beyond the axis)" if outside else ""
            axis.plot(*zip(*trials, strict=True), marker, color=color, markersize=5, label=meaning)
    if points:
        numbers, reached = zip(*points, strict=True)
        best = list(accumulate(reached, better))
        end = max(number for number, _ in [*points, *pruned])
        axis.step([*numbers, end], [*best, best[-1]], "C1", where="post", linewidth=1.2, label="best so far")
    axis.set_ylim(low, high)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.legend()


def _limits(values: Sequence[float], better: Callable[..., float]) -> tuple[float, float]:
    """An axis from the best value to the worst, but at most to twice as far from the best as the median is.

    Without that bound a setting that hardly trains would flatten the differences between the others.
    """
    best = better(values)
    distance = max(abs(value - best) for value in values)
    distance = min(distance, 2 * abs(float(np.median(values)) - best)) or distance or 1.0
    end = best + distance if better is min else best - distance
    margin = 0.05 * distance
    return min(best, end) - margin, max(best, end) + margin
