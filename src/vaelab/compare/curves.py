"""Curves as the page draws them: columns of few points with few digits, for they are most of the page."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean

from vaelab.evaluation.curves import Curve

MAX_POINTS = 300  # of a curve; a plot is rarely wider
DIGITS = 6  # of a number: 1e-4 of an ELBO of -100

Columns = dict[str, list[float]]


def curve_columns(points: Sequence[Sequence[float | None]]) -> Columns:
    """`x`, `y` and, of means, `error`, of at most 300 of the points, evenly, the first and the last among them."""
    if len(points) > MAX_POINTS:
        points = [points[round(index * (len(points) - 1) / (MAX_POINTS - 1))] for index in range(MAX_POINTS)]
    columns = zip(*points, strict=True)
    short = ([float(f"{value:.{DIGITS}g}") for value in column if value is not None] for column in columns)
    return dict(zip(("x", "y", "error"), short, strict=False))


def mean_curve(curves: Sequence[Curve]) -> Columns:
    """Mean and standard error at the epochs that all curves have."""
    by_epoch = [dict(curve) for curve in curves]
    shared = [epoch for epoch in by_epoch[0] if all(epoch in values for values in by_epoch)]
    return curve_columns([(epoch, *mean_and_error([values[epoch] for values in by_epoch])) for epoch in shared])


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error, s / sqrt(n) with s over n - 1; no error of one value."""
    mean, count = fmean(values), len(values)
    # statistics.stdev is exact and a hundred times slower, which thousands of epochs feel
    largest = max(abs(value - mean) for value in values) or 1.0
    squares = sum(((value - mean) / largest) ** 2 for value in values)  # those of large values no float holds
    return mean, largest * sqrt(squares / (count - 1) / count) if count > 1 else None
